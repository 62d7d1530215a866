const LEADERS = 10;
const CLEAR = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };

function render({ model, el }) {
  const { root, say, ask, on, end } = frame(model, el, `Prompt lab: ${model.get("title")}`);
  let moved = null; // settings that the kernel has not heard of: an echo of earlier ones must not undo them
  const settings = () => moved ?? model.get("settings");
  const nodes = new Map();
  let now = null; // the distribution after the chosen token
  let ranking = null;

  // -- what is asked for
  const promptId = unique("prompt");
  const prompt = make("textarea", { id: promptId, rows: 3, placeholder: "Write the beginning of a text" });
  prompt.value = model.get("prompt");
  prompt.addEventListener("change", () => put(model, "prompt", prompt.value));
  let settle = null;
  const change = (name) => (value) => {
    moved = { ...settings(), [name]: value };
    if (name === "repetition_penalty") ranking = null;
    show();
    clearTimeout(settle); // the picture follows at once; the kernel hears of it when the slider rests
    settle = setTimeout(save, 150);
  };
  function save() {
    clearTimeout(settle);
    const now = settings();
    moved = null;
    put(model, "settings", now);
  }
  const limits = model.get("limits");
  const value = settings();
  const knobs = {
    temperature: slider("temperature", { min: 0, max: 2, step: 0.05, value: value.temperature, describe: (t) => (t ? t.toFixed(2) : "0 (greedy)") }, change("temperature")),
    top_k: slider("top-k", { min: 0, max: 200, step: 1, value: value.top_k, describe: (k) => (k ? String(k) : "off") }, change("top_k")),
    top_p: slider("top-p", { min: 0.05, max: 1, step: 0.01, value: value.top_p, describe: (p) => (p < 1 ? p.toFixed(2) : "off") }, change("top_p")),
    min_p: slider("min-p", { min: 0, max: 0.5, step: 0.01, value: value.min_p, describe: (p) => (p ? p.toFixed(2) : "off") }, change("min_p")),
    repetition_penalty: slider("repetition penalty", { min: 1, max: 2, step: 0.05, value: value.repetition_penalty, describe: (p) => (p > 1 ? p.toFixed(2) : "off") }, change("repetition_penalty")),
    max_new_tokens: slider("length", { min: 1, max: limits.longest, step: 1, value: value.max_new_tokens, digits: 0 }, change("max_new_tokens")),
    seed: numberBox("seed", { min: 0, max: 2 ** 31 - 1, value: value.seed }, change("seed")),
  };

  // -- what is done
  const start = (type, more = {}) => {
    say("asked …");
    ask(type, { prompt: prompt.value, settings: settings(), ...more }); // an update of the values themselves may arrive later than the question
    if (prompt.value !== model.get("prompt")) model.set("prompt", prompt.value);
    save();
  };
  const generate = button("Generate", () => start("generate"), { class: "nbt-button nbt-main" });
  const stop = button("Stop", () => ask("stop"));
  const step = button("One token", () => start("step", { node: model.get("at") }));
  const back = button("Back", () => ask("visit", { node: nodes.get(model.get("at"))?.parent ?? -1 }), { title: "Take the last token away" });
  const other = make("input", { type: "number", min: 0, max: 2, step: 0.05, value: 1.5, "aria-label": "another temperature" });
  const replay = button("Same dice at temperature", () => start("replay", { temperature: Number(other.value) }));
  const compare = button("Greedy, sampling, beam", () => start("compare"));
  const copyPython = button("Copy as Python", () => copy(model.get("python"), say));
  const copyCommand = button("Copy as papermill command", () => copy(model.get("command"), say));

  // -- the text, token by token
  const text = make("div", { class: "nbt-text", role: "group", "aria-label": "The text; a token opens its alternatives" });
  const detail = make("div", { class: "nbt-detail" });
  const tree = make("div");
  const leaders = make("div", { class: "nbt-leaders", role: "img" });
  const facts = make("p", { class: "nbt-faint" });
  const ruler = draw("svg", { class: "nbt-ruler", viewBox: "0 0 1000 64", preserveAspectRatio: "none", role: "img" });
  const landed = make("p");
  const replayed = make("div");
  const compared = make("div");
  const rulerTable = behind("The distribution as a table", () => {
    if (!now) return make("p", { text: "Nothing yet." });
    const rows = Array.from(now.order.slice(0, Math.min(now.kept, 100)), (id) => [visible(name(id)), id, now.probabilities[id].toPrecision(6)]);
    return table(`The ${rows.length} likeliest of ${now.kept.toLocaleString("en")} tokens that can come next`, ["token", "id", "probability"], rows);
  });

  root.append(
    make("div", { class: "nbt-faint", text: model.get("title") }),
    make("label", { for: promptId, text: "Prompt" }), prompt,
    make("div", { class: "nbt-columns" },
      make("div", {}, make("h4", { text: "Decoding" }), ...Object.values(knobs).map((knob) => knob.row)),
      make("div", {}, make("h4", { text: "The next token, exactly" }), leaders, facts)),
    make("div", { class: "nbt-row" }, generate, stop, step, back),
    text, detail,
    make("h4", { text: "The dice" }), ruler, landed, rulerTable.details,
    make("div", { class: "nbt-row" }, replay, other), replayed,
    make("div", { class: "nbt-row" }, compare, copyPython, copyCommand), compared,
    tree);

  const name = (id) => model.get("looking").texts?.[id] ?? `#${id}`;

  // -- the distribution
  function show() {
    const raw = numbers(model.get("logits"), Float32Array);
    if (!raw.length) return;
    const looking = model.get("looking");
    if (ranking === null) ranking = ranked(raw, looking.history, settings().repetition_penalty);
    now = warp(ranking, settings());
    let rest = 1;
    const rows = Array.from(now.order.slice(0, Math.min(LEADERS, now.kept)), (id) => {
      rest -= now.probabilities[id];
      return [visible(name(id)), now.probabilities[id]];
    });
    if (now.kept > rows.length) rows.push([`${(now.kept - rows.length).toLocaleString("en")} others`, Math.max(0, rest)]);
    leaders.replaceChildren(...rows.map(([label, share], row) => {
      const bar = make("span", { class: row === LEADERS ? "nbt-rest" : "" });
      bar.style.width = `${Math.max(0.4, 100 * share)}%`;
      return make("div", { class: "nbt-leader" }, make("span", { class: "nbt-mono nbt-label", text: label, title: label }), make("span", { class: "nbt-bar" }, bar), make("span", { class: "nbt-value", text: percent(share) }));
    }));
    leaders.setAttribute("aria-label", `Likeliest next tokens: ${rows.map(([label, share]) => `${label} ${percent(share)}`).join(", ")}`);
    facts.textContent = `${now.kept.toLocaleString("en")} of ${raw.length.toLocaleString("en")} tokens can come; the filters took ${percent(now.removed)} of the probability away; entropy ${now.entropy.toFixed(2)} bits.`;
    showDice(looking);
    rulerTable.refresh();
  }

  function showDice(looking) {
    const uniform = model.get("dice")[looking.depth];
    ruler.replaceChildren();
    if (uniform === undefined) { landed.textContent = ""; return; }
    const here = land(now.probabilities, uniform);
    let edge = 0;
    let drawn = 0;
    const least = 0.002; // narrower parts are drawn together
    for (let id = 0; id < now.probabilities.length; id += 1) {
      const share = now.probabilities[id];
      if (!share) continue;
      if (share >= least || id === here.id) {
        const chosen = id === here.id;
        ruler.append(draw("rect", { x: 1000 * edge, y: 20, width: Math.max(0.6, 1000 * share), height: 26, class: chosen ? "nbt-landed" : drawn % 2 ? "nbt-odd" : "nbt-even" }, draw("title", { text: `${visible(name(id))} ${percent(share)}` })));
        drawn += 1;
      }
      edge += share;
    }
    ruler.append(draw("rect", { x: 0, y: 20, width: 1000, height: 26, class: "nbt-outline" }));
    ruler.append(draw("path", { d: `M ${1000 * uniform} 20 l -7 -16 h 14 z`, class: "nbt-marker" }));
    const greedy = !settings().temperature;
    const said = greedy ? `Temperature 0 throws no dice: it takes ${visible(name(here.id))}.`
      : `The dice of seed ${settings().seed} say ${uniform.toFixed(4)} here: that is ${visible(name(here.id))}, which has the ruler from ${here.begin.toFixed(4)} to ${here.end.toFixed(4)}.`;
    landed.textContent = said;
    ruler.setAttribute("aria-label", said);
  }

  // -- the tokens and their alternatives
  const path = (at) => {
    const found = [];
    for (let one = nodes.get(at); one; one = nodes.get(one.parent)) found.unshift(one);
    return found;
  };

  function showText() {
    const made = path(model.get("at"));
    text.replaceChildren(make("span", { class: "nbt-faint", text: nodes.size ? model.get("root") : "" }), ...made.map((one) => {
      const token = button(one.text, () => open(one, true), { class: "nbt-token", "data-node": one.number, "aria-label": `${visible(one.text)}, ${percent(one.probability)}; show alternatives` });
      token.style.setProperty("--doubt", String(Math.min(1, -Math.log2(Math.max(one.probability, 1e-6)) / 8)));
      token.addEventListener("mouseenter", () => { if (!locked) open(one, false); });
      return token;
    }));
    back.disabled = !made.length || model.get("writing");
  }

  let locked = false;
  let opened = null;
  function open(one, lock) {
    if (lock && locked && opened === one.number) { locked = false; opened = null; detail.replaceChildren(); return; }
    locked = lock;
    opened = one.number;
    const dice = one.uniform === null ? "" : `, dice ${one.uniform.toFixed(4)}`;
    detail.replaceChildren(
      make("p", { class: "nbt-faint", text: `${visible(one.text)} had ${percent(one.probability)}${dice}. Go on from another:` }),
      make("div", { class: "nbt-row" }, ...one.alternatives.map(([id, label, share]) =>
        button(`${visible(label)} ${percent(share)}`, () => { locked = false; detail.replaceChildren(); start("fork", { node: one.number, token: id }); },
          { class: "nbt-button nbt-mono", "aria-pressed": String(id === one.token), "data-token": id, disabled: model.get("writing") })),
        button("Back to here", () => { detail.replaceChildren(); locked = false; ask("visit", { node: one.number }); })));
  }

  // -- branches
  function showTree() {
    const parents = new Set([...nodes.values()].map((one) => one.parent));
    const leaves = [...nodes.values()].filter((one) => !parents.has(one.number));
    const current = new Set(path(model.get("at")).map((one) => one.number));
    if (leaves.length < 2) { tree.replaceChildren(); return; }
    const siblings = new Map();
    for (const one of nodes.values()) siblings.set(one.parent, (siblings.get(one.parent) ?? 0) + 1);
    const rows = leaves.map((leaf) => {
      const steps = path(leaf.number);
      const splits = steps.filter((one) => siblings.get(one.parent) > 1);
      const from = splits.length ? steps.indexOf(splits[splits.length - 1]) : 0;
      const tail = steps.slice(from, from + 12).map((one) => one.text).join("");
      const row = button(visible(tail) + (steps.length > from + 12 ? " …" : ""), () => ask("visit", { node: leaf.number }),
        { class: "nbt-button nbt-mono nbt-branch", "aria-current": current.has(leaf.number) ? "true" : false, "data-leaf": leaf.number });
      return make("li", { style: `margin-left:${14 * Math.max(0, splits.length - 1)}px` }, row, make("span", { class: "nbt-faint", text: ` from token ${from + 1}, ${steps.length} tokens` }));
    });
    tree.replaceChildren(make("h4", { text: `${leaves.length} branches` }), make("ul", { class: "nbt-tree" }, ...rows));
  }

  function showReplay() {
    const one = model.get("replayed");
    if (!one.tokens) { replayed.replaceChildren(); return; }
    const line = (label, tokens) => make("div", { class: "nbt-replay" }, make("span", { class: "nbt-faint", text: label }),
      make("span", { class: "nbt-mono" }, ...tokens.map((token, place) => make(place === one.parting ? "mark" : "span", { text: token }))));
    const said = one.parting < 0 ? "Every throw fell on the same token: the texts are the same." : `The same dice, token by token, and the texts part at token ${one.parting + 1}.`;
    replayed.replaceChildren(make("p", { text: said }), line(`temperature ${one.before}`, one.first), line(`temperature ${one.temperature}`, one.tokens));
  }

  function showCompared() {
    const rows = model.get("compared");
    compared.replaceChildren(rows.length ? table("The same prompt, three ways", ["decoding", "text"], rows) : "");
  }

  function showWriting() {
    const busy = model.get("writing");
    stop.disabled = !busy;
    for (const one of [generate, step, replay, compare]) one.disabled = busy;
    back.disabled = busy || !nodes.has(model.get("at"));
    say(busy ? "writing …" : model.get("line"));
  }

  const take = (list) => { for (const one of list) nodes.set(one.number, one); };
  function reload() {
    nodes.clear();
    take(model.get("nodes"));
    showText();
    showTree();
  }
  on("change:nodes", reload);
  on("change:grown", () => {
    const grown = model.get("grown");
    if (grown.first === 0) nodes.clear();
    take(grown.nodes ?? []);
    showText();
  });
  on("change:at", () => { showText(); showTree(); });
  on("change:logits", () => { ranking = null; show(); });
  on("change:looking", () => { ranking = null; show(); });
  on("change:dice", show);
  on("change:writing", () => { showWriting(); showTree(); });
  on("change:line", showWriting);
  on("change:replayed", showReplay);
  on("change:compared", showCompared);
  on("change:prompt", () => { if (prompt.value !== model.get("prompt")) prompt.value = model.get("prompt"); });
  on("change:settings", () => {
    for (const [knob, one] of Object.entries(knobs)) one.set(settings()[knob]);
    ranking = null;
    show();
  });
  reload();
  show();
  showReplay();
  showCompared();
  showWriting();
  return end;
}

export { ranked, warp, land };
export default { render };
