// What all views share. Plain functions: each view's file follows below in the same module.

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

function percent(share, digits = 1) {
  if (share > 0 && share < 0.5 * 10 ** -(digits + 2)) return `<${(10 ** -digits).toFixed(digits)} %`;
  return `${(100 * share).toFixed(digits)} %`;
}

let count = 0;

/** An id that no other element of the page has: two views of a kind may stand in one notebook. */
function unique(name) {
  count += 1;
  return `nbt-${name}-${count}-${Math.random().toString(36).slice(2, 8)}`;
}

/** A slider with its label and its value; `change` is called while it moves. */
function slider(label, { min, max, step, value, digits = 2, describe }, change) {
  const id = unique("slider");
  const said = make("output", { for: id, class: "nbt-value" });
  const input = make("input", { type: "range", id, min, max, step, value });
  const show = () => {
    const now = Number(input.value);
    said.textContent = describe ? describe(now) : now.toFixed(digits);
    input.setAttribute("aria-valuetext", said.textContent);
  };
  input.addEventListener("input", () => { show(); change(Number(input.value)); });
  show();
  const row = make("div", { class: "nbt-slider" }, make("label", { for: id, text: label }), input, said);
  return { row, input, set(next) { if (Number(input.value) !== next) { input.value = next; } show(); } };
}

function numberBox(label, { min, max, step = 1, value }, change) {
  const id = unique("number");
  const input = make("input", { type: "number", id, min, max, step, value });
  input.addEventListener("change", () => {
    const now = Math.min(max, Math.max(min, Number(input.value)));
    if (!Number.isFinite(now)) return;
    input.value = now;
    change(now);
  });
  return { row: make("div", { class: "nbt-slider" }, make("label", { for: id, text: label }), input), input, set(next) { input.value = next; } };
}

function choice(label, options, value, change) {
  const id = unique("choice");
  const select = make("select", { id });
  for (const [key, text] of options) select.append(make("option", { value: key, text }));
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  return { row: make("span", { class: "nbt-choice" }, make("label", { for: id, text: label }), select), select };
}

function button(text, press, attributes = {}) {
  return make("button", { type: "button", class: "nbt-button", text, onclick: press, ...attributes });
}

/** A table whose cells are text. */
function table(caption, head, rows) {
  const cells = (tag, row) => make("tr", {}, ...row.map((cell) => make(tag, { text: String(cell), ...(tag === "th" ? { scope: "col" } : {}) })));
  return make("table", { class: "nbt-table" }, make("caption", { text: caption }), make("thead", {}, cells("th", head)),
    make("tbody", {}, ...rows.map((row) => cells("td", row))));
}

/** What a picture shows, as a table behind it. `fill` makes the table when it is opened. */
function behind(summary, fill) {
  const place = make("div");
  const details = make("details", { class: "nbt-behind" }, make("summary", { text: summary }), place);
  const refresh = () => { if (details.open) place.replaceChildren(fill()); };
  details.addEventListener("toggle", refresh);
  return { details, refresh };
}

/** Copy text; where the page may not, select it so that a person can. */
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

function download(name, data, type) {
  const url = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Numbers from a bytes trait, which arrives as a DataView. */
function numbers(view, Kind) {
  if (!view || !view.byteLength) return new Kind(0);
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/**
 * The frame of a view: its element, a line for what happens, a way to ask the kernel, and listeners that end with the view.
 * Returns { root, say, ask, on, end }.
 */
function frame(model, el, label) {
  const status = make("div", { class: "nbt-status", role: "status", "aria-live": "polite" });
  const problem = make("div", { class: "nbt-problem", role: "alert" });
  const root = make("section", { class: "nbt", "aria-label": label });
  // Keys pressed here are the view's. Notebook 7 listens before us, and a notebook in command mode would take arrows and Enter for its own
  // cells, unless the very element that has the focus says otherwise.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  el.replaceChildren(make("div", { class: "nbt-frame" }, root, problem, status));
  const listeners = [];
  const on = (name, listener) => {
    model.on(name, listener);
    listeners.push([name, listener]);
  };
  const say = (text) => { status.textContent = text; };
  say.place = status.parentNode;
  const showProblem = () => { problem.textContent = model.get("problem"); };
  on("change:problem", showProblem);
  showProblem();
  let asked = model.get("heard");
  let waiting = null;
  const ask = (type, more = {}) => {
    asked = Math.max(asked, model.get("heard")) + 1;
    const id = asked;
    const unheard = () => {
      if (model.get("heard") < id) problem.textContent = "The kernel does not answer: it is busy with a cell, or it was restarted. Wait, or run the cell again.";
    };
    clearTimeout(waiting);
    waiting = setTimeout(unheard, 4000);
    try {
      Promise.resolve(model.send({ type, id, ...more })).catch(unheard);
    } catch {
      unheard(); // the connection of this view is closed
    }
  };
  on("change:heard", () => {
    if (model.get("heard") >= asked) { clearTimeout(waiting); showProblem(); }
  });
  const end = () => {
    clearTimeout(waiting);
    for (const [name, listener] of listeners) model.off(name, listener);
  };
  return { root, say, ask, on, end };
}

/** Set a trait and tell the kernel. */
function put(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/** Arrow keys move among the buttons of a grid; only one of them is a tab stop. */
function roving(buttons, columns) {
  buttons.forEach((one, place) => {
    one.tabIndex = place ? -1 : 0;
    one.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
      const next = step && buttons[place + step];
      if (!next) return;
      event.preventDefault();
      event.stopPropagation();
      one.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
}
