// Code and commands that repeat what a view shows, to be copied: Python for `nbtools`, and a papermill command.

/** A character that Python's repr does not print as it is. */
function pythonEscape(character) {
  const short = { " ": " ", "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  if (short) return short;
  const code = character.codePointAt(0);
  const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
}

/** A number or a string as Python writes it. */
function python(value) {
  if (typeof value === "number") return String(value);
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const escaped = value.replaceAll("\\", "\\\\").replace(/[\p{C}\p{Z}]/gu, pythonEscape);
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** A value as one word of a shell. */
function shellWord(value) {
  const text = String(value);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`;
}

/** The settings that are not off, as [name, value]. */
function optionsOf(settings) {
  return Object.entries(settings).filter(([name, value]) => value !== OFF[name]);
}

/** Code that prints the text of a prompt with these settings. */
function generationCode(model, prompt, settings) {
  const options = optionsOf(settings).map(([name, value]) => `, ${name}=${python(value)}`);
  const call = `nbtools.generate(lm, ${python(prompt)}${options.join("")})`;
  return `import nbtools\n\nlm = nbtools.load_model(${python(model)})\nprint(${call})`;
}

/** The command that runs a notebook with these values of its parameters, [name, value] each. */
function papermillCommand(notebook, values) {
  const words = values.map(([name, value]) => ` -p ${name} ${shellWord(value)}`);
  return `papermill notebooks/${notebook}.ipynb out.ipynb${words.join("")}`;
}

/** The command that runs notebook 03 with these settings; it has no parameter for the repetition penalty. */
function generationCommand(model, prompt, settings) {
  const options = optionsOf(settings).filter(([name]) => name !== "repetition_penalty");
  return papermillCommand("03_generation", [["profile", model], ["short_prompt", prompt], ...options]);
}

/** Code that computes one attention weight. */
function weightCode(model, text, { layer, head, row, column }) {
  return [
    "import numpy as np",
    "import nbtools",
    "from nbtools.attention import read_attention",
    "",
    `lm = nbtools.load_model(${python(model)})`,
    `reading = read_attention(lm, ${python(text)})`,
    `q = reading.queries[${layer}, ${head}, ${row}]`,
    `k = reading.keys[${layer}, ${head}, : ${row} + 1]  # later tokens are masked`,
    `scores = k @ q * reading.scales[${layer}]`,
    "weights = np.exp(scores) / np.exp(scores).sum()",
    `print(weights[${column}])`,
  ].join("\n");
}
