// The tokens of the attention explorer, coloured by attention, and the arcs between them.

const ARC_LINE = 15; // pixels per token
const ARC_WIDTH = 520;
const LEAST_ARC = 0.02; // weights below it are not drawn

/** One button per token: pointing at it previews its weights, pressing it keeps them. */
function tokenRow(explorer, refocus) {
  const { data } = explorer;
  const label = "Tokens: point to preview, press to keep; several are averaged";
  const element = make("div", { class: "nbt-tokens", role: "group", "aria-label": label });
  let chips = [];
  function preview(index) {
    if (explorer.selected.size) return;
    explorer.hovered = index;
    refocus();
  }
  function toggle(index) {
    if (!explorer.selected.delete(index)) explorer.selected.add(index);
    refocus();
  }
  function fill() {
    chips = data.tokens.map((token, index) => {
      const attributes = { type: "button", class: "nbt-chip", "data-token": index, title: `token ${index}` };
      const chip = make("button", { ...attributes, text: visible(token), onclick: () => toggle(index) });
      chip.addEventListener("mouseenter", () => preview(index));
      chip.addEventListener("focus", () => preview(index));
      return chip;
    });
    element.replaceChildren(...chips);
    roving(chips, 1);
  }
  function show() {
    const from = explorer.focus();
    chips.forEach((chip, index) => {
      const sum = from.reduce((total, one) => total + explorer.weightBetween(one, index), 0);
      const weight = from.length ? sum / from.length : 0;
      chip.style.setProperty("--heat", weight.toFixed(3));
      chip.setAttribute("aria-pressed", String(explorer.selected.has(index)));
      const words = from.length ? `, weight ${weight.toFixed(2)}` : "";
      chip.setAttribute("aria-label", `${explorer.nameOf(index)}${words}`);
    });
  }
  return { element, fill, show };
}

/** Curves from each token on the left to the tokens that it attends to on the right. */
function attentionArcs(explorer) {
  const label = "Arcs from each token on the left to the tokens it attends to; the table below has the same numbers";
  const canvas = make("canvas", { role: "img", "aria-label": label });
  const attributes = { class: "nbt-arcs", tabindex: 0, role: "region", "aria-label": "Arcs" };
  const element = make("div", attributes, canvas);
  const middle = (index) => (index + 0.5) * ARC_LINE;

  function prepare(size) {
    const ratio = Math.min(2, 16_000 / (size * ARC_LINE)); // a canvas has a largest height
    canvas.width = ARC_WIDTH * ratio;
    canvas.height = size * ARC_LINE * ratio;
    canvas.style.width = `${ARC_WIDTH}px`;
    canvas.style.height = `${size * ARC_LINE}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "11px monospace";
    context.textBaseline = "middle";
    return context;
  }
  function arc(context, row, column, weight, strength) {
    context.globalAlpha = Math.min(1, weight * strength + 0.05);
    context.lineWidth = 0.5 + 2.5 * weight;
    context.beginPath();
    context.moveTo(190, middle(row));
    context.bezierCurveTo(260, middle(row), 260, middle(column), 330, middle(column));
    context.stroke();
  }
  function labels(context, size) {
    context.globalAlpha = 1;
    context.fillStyle = getComputedStyle(canvas).color;
    for (let index = 0; index < size; index += 1) {
      const name = explorer.nameOf(index).slice(0, 24);
      context.textAlign = "right";
      context.fillText(name, 184, middle(index));
      context.textAlign = "left";
      context.fillText(name, 336, middle(index));
    }
  }
  function show() {
    const size = explorer.count();
    const context = prepare(size);
    const chosen = new Set(explorer.focus());
    const shown = (row, column) => !chosen.size || chosen.has(explorer.outgoing() ? row : column);
    context.strokeStyle = darkTheme() ? "#56b4e9" : "#0072b2";
    for (let row = 0; row < size; row += 1) {
      for (let column = 0; column <= row; column += 1) {
        const weight = explorer.weight(row, column);
        if (weight >= LEAST_ARC && shown(row, column)) arc(context, row, column, weight, chosen.size ? 1 : 0.7);
      }
    }
    labels(context, size);
  }
  return { element, show };
}
