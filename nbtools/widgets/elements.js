// Elements and controls. The modules of a view are concatenated, so plain functions are visible in the later ones.

const SPACES = { " ": "␣", "\n": "⏎", "\t": "⇥" };

// As nbtools.errors.CONTROLS.
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text with spaces, line breaks, tabs and control characters made visible, as nbtools.tokens.visible does. */
function visible(text) {
  return text
    .replace(CONTROLS, (one) => `<U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}>`)
    .replace(/[ \n\t]/g, (one) => SPACES[one]);
}

/** An element. Text is always set as text; attributes named on… are listeners. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A probability in percent; one that would round to zero is "<0.1 %". */
function percent(share, digits = 1) {
  if (share > 0 && share < 0.5 * 10 ** -(digits + 2)) return `<${(10 ** -digits).toFixed(digits)} %`;
  return `${(100 * share).toFixed(digits)} %`;
}

/** Tokens as elements; the one at the index `marked` is marked. */
function markedTokens(tokens, marked) {
  return tokens.map((text, index) => make(index === marked ? "mark" : "span", { text }));
}

/** The index of the first place at which two sequences differ; -1 if they do not before one of them ends. */
function parting(before, after) {
  const count = Math.min(before.length, after.length);
  for (let index = 0; index < count; index += 1) if (before[index] !== after[index]) return index;
  return -1;
}

/** An element that `show` fills anew with the nodes that `content` returns; it stays empty if there are none. */
function panel(content, attributes = {}) {
  const element = make("div", attributes);
  return { element, show: () => element.replaceChildren(...(content() || [])) };
}

let count = 0;

/** An id that no other element of the page has: one notebook may show several views of a kind. */
function unique(name) {
  count += 1;
  return `nbt-${name}-${count}-${Math.random().toString(36).slice(2, 8)}`;
}

/** A slider with its label and its value; `change` is called while it moves, `describe` makes the value's text. */
function slider(label, { min, max, step, value, digits = 2, describe }, change) {
  const id = unique("slider");
  const said = make("output", { for: id, class: "nbt-value" });
  const input = make("input", { type: "range", id, min, max, step, value });
  const show = () => {
    const now = Number(input.value);
    said.textContent = describe ? describe(now) : now.toFixed(digits);
    input.setAttribute("aria-valuetext", said.textContent);
  };
  input.addEventListener("input", () => {
    show();
    change(Number(input.value));
  });
  show();
  const row = make("div", { class: "nbt-slider" }, make("label", { for: id, text: label }), input, said);
  return {
    row,
    input,
    set(next) {
      if (Number(input.value) !== next) input.value = next;
      show();
    },
  };
}

/** A field for a number, whole where the step is 1, with its label; outside the limits it becomes the nearest limit. */
function numberBox(label, { min, max, step = 1, value }, change = () => {}) {
  const id = unique("number");
  const input = make("input", { type: "number", id, min, max, step, value });
  input.addEventListener("change", () => {
    const given = Math.min(max, Math.max(min, Number(input.value)));
    const now = step === 1 ? Math.round(given) : given;
    input.value = now;
    change(now);
  });
  return {
    row: make("div", { class: "nbt-slider" }, make("label", { for: id, text: label }), input),
    input,
    set(next) {
      input.value = next;
    },
  };
}

/** A list of options, pairs of value and text, with its label. */
function choice(label, options, value, change) {
  const id = unique("choice");
  const select = make("select", { id });
  for (const [key, text] of options) select.append(make("option", { value: key, text }));
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  return { row: make("span", { class: "nbt-choice" }, make("label", { for: id, text: label }), select), select };
}

/** A text box with its label. */
function textBox(label, attributes = {}) {
  const id = unique("text");
  return { label: make("label", { for: id, text: label }), box: make("textarea", { id, rows: 2, ...attributes }) };
}

function button(text, press, attributes = {}) {
  return make("button", { type: "button", class: "nbt-button", text, onclick: press, ...attributes });
}

/** A table whose cells are text. */
function table(caption, head, rows, kind = "") {
  const cells = (tag, row) =>
    make("tr", {}, ...row.map((cell) => make(tag, { text: String(cell), ...(tag === "th" ? { scope: "col" } : {}) })));
  return make(
    "table",
    { class: `nbt-table ${kind}` },
    make("caption", { text: caption }),
    make("thead", {}, cells("th", head)),
    make("tbody", {}, ...rows.map((row) => cells("td", row))),
  );
}

/** The numbers of a picture as a table that can be opened; `fill` makes the table when it is. */
function behind(summary, fill) {
  const content = make("div");
  const details = make("details", { class: "nbt-behind" }, make("summary", { text: summary }), content);
  const refresh = () => {
    if (details.open) content.replaceChildren(fill());
  };
  details.addEventListener("toggle", refresh);
  return { details, refresh };
}

/** Copy text to the clipboard; if the page has no permission, select it so that a person can. */
async function copy(text, say) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    const box = make("textarea", { class: "nbt-copy", readonly: true, "aria-label": "Text to copy" });
    box.value = text;
    say.place.append(box);
    box.select();
    say("Press Ctrl+C to copy the text below.");
    box.addEventListener("blur", () => box.remove());
  }
}

/** Save data as a file. */
function download(name, data, type) {
  const url = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A typed array of bytes from the kernel, which arrive as a DataView. */
function numbers(view, Kind) {
  if (!view || !view.byteLength) return new Kind(0);
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** Arrow keys move among the buttons of a grid; only one of them is a tab stop. */
function roving(buttons, columns) {
  buttons.forEach((one, index) => {
    one.tabIndex = index ? -1 : 0;
    one.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
      const next = step && buttons[index + step];
      if (!next) return;
      event.preventDefault();
      event.stopPropagation();
      one.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
}
