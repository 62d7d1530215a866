// The attention matrix of one head in the attention explorer, and the weight under the pointer.

const MATRIX_SIDE = 420; // pixels
const ROW_DELAY = 120; // milliseconds at rest until exact numbers are asked for

/** The sentence about one weight. */
function describeWeight(explorer, row, column) {
  const [query, key] = [`${explorer.nameOf(row)} (${row})`, `${explorer.nameOf(column)} (${column})`];
  if (column > row) return `${query} cannot attend to ${key}, which comes later.`;
  const exact = explorer.outgoing() && explorer.exactWeights(row);
  const weight = exact ? exact[column].toPrecision(6) : explorer.weight(row, column).toFixed(3);
  return `${query} attends to ${key} with weight ${weight}.`;
}

/** Move the chosen cell by pointer and keyboard, and press it by click and Enter. */
function listenToMatrix(canvas, explorer, { moveTo, press }) {
  const cellUnder = (event) => {
    const box = canvas.getBoundingClientRect();
    const index = (offset, length) => Math.floor((offset / length) * explorer.count());
    return [index(event.clientY - box.top, box.height), index(event.clientX - box.left, box.width)];
  };
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  canvas.addEventListener("mousemove", (event) => moveTo(...cellUnder(event)));
  canvas.addEventListener("click", (event) => {
    moveTo(...cellUnder(event));
    press();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (step) moveTo(explorer.cell.row + step[0], explorer.cell.column + step[1]);
    else press();
  });
}

function headMatrix(explorer) {
  const { view, data } = explorer;
  const heading = make("h4");
  const canvas = make("canvas", { class: "nbt-matrix", tabindex: 0, role: "img" });
  const readout = make("div", { role: "status", "aria-live": "polite" });
  const weights = make("canvas"); // one pixel per weight
  let timer = null;

  /** Another head, layer or mode. */
  function show() {
    const size = explorer.count();
    explorer.weight = triangle(numbers(data.triangles, Uint8Array), explorer.heads(), size, data.head);
    paint(weights, size, explorer.weight);
    heading.textContent =
      explorer.heads() === 1 ? `Rollout up to layer ${data.layer}` : `Layer ${data.layer}, head ${data.head}`;
    const keys = "arrow keys move, Enter shows a weight step by step";
    canvas.setAttribute("aria-label", `${heading.textContent}: rows are queries, columns are keys; ${keys}`);
    redraw();
  }
  function redraw() {
    const { row, column } = explorer.cell;
    const cell = Math.max(1, Math.floor(MATRIX_SIDE / explorer.count()));
    canvas.width = cell * explorer.count();
    canvas.height = canvas.width;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(weights, 0, 0, canvas.width, canvas.height);
    context.strokeStyle = "#d55e00";
    context.lineWidth = 2;
    context.strokeRect(column * cell, row * cell, Math.max(cell, 3), Math.max(cell, 3));
    describe();
  }
  function describe() {
    const { row, column } = explorer.cell;
    readout.textContent = describeWeight(explorer, row, column);
    clearTimeout(timer);
    if (explorer.outgoing() && !explorer.exactWeights(row)) timer = setTimeout(() => explorer.askRow(row), ROW_DELAY);
  }
  function moveTo(row, column) {
    const inside = (index) => Math.max(0, Math.min(explorer.count() - 1, index));
    explorer.cell = { row: inside(row), column: inside(column) };
    if (!explorer.selected.size) explorer.hovered = explorer.cell.row;
    redraw();
    explorer.showTokens();
  }
  function press() {
    if (explorer.heads() > 1) view.ask("cell", explorer.cell);
    else view.say("Rollout combines all heads and layers, so its weights are no single softmax.");
  }
  listenToMatrix(canvas, explorer, { moveTo, press });
  return { elements: [heading, canvas, readout], show, describe };
}
