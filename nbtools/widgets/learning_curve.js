// The picture of a training run: loss by step, and the validation scores.

const WIDTH = 640;
const HEIGHT = 220;
const MARGIN = { left: 46, right: 12, top: 10, bottom: 28 };
const TICKS = 4;

/** The curve's scales: from steps and losses to pixels. */
function curveScales(rows, evaluated, steps) {
  const losses = [...rows.map((row) => row.loss), ...evaluated.map((row) => Math.log(row.validation_perplexity))];
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const span = Math.max(high - low, 0.05);
  const last = Math.max(steps, rows[rows.length - 1].step);
  const [width, height] = [WIDTH - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  const x = (step) => MARGIN.left + (width * step) / last;
  const y = (loss) => MARGIN.top + (height * (high + 0.05 * span - loss)) / (1.1 * span);
  return { x, y, low, span, last };
}

function curveTicks({ x, y, low, span, last }) {
  const made = [];
  for (let tick = 0; tick <= TICKS; tick += 1) {
    const loss = low + (span * tick) / TICKS;
    const step = Math.round((last * tick) / TICKS);
    const anchor = tick === TICKS ? "end" : "middle";
    made.push(
      draw("line", { x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: y(loss), y2: y(loss), class: "nbt-tick" }),
      draw("text", { x: MARGIN.left - 6, y: y(loss) + 4, "text-anchor": "end", text: loss.toFixed(2) }),
      draw("text", { x: x(step), y: HEIGHT - 10, "text-anchor": anchor, text: step }),
    );
  }
  return made;
}

/** A line of the training loss, and a circle per evaluation. */
function learningCurve() {
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}` };
  const element = draw("svg", {
    ...size,
    role: "img",
    class: "nbt-curve",
    "aria-label": "No step has been logged yet",
  });
  function circle({ x, y }, { step, validation_perplexity: perplexity }) {
    const title = draw("title", { text: `step ${step}: validation perplexity ${perplexity.toFixed(1)}` });
    return draw("circle", { cx: x(step), cy: y(Math.log(perplexity)), r: 4, class: "nbt-score" }, title);
  }
  function show(rows, steps) {
    if (!rows.length) return element.replaceChildren();
    const evaluated = rows.filter((row) => row.validation_perplexity);
    const scales = curveScales(rows, evaluated, steps);
    const points = rows.map((row) => `${scales.x(row.step).toFixed(1)},${scales.y(row.loss).toFixed(1)}`);
    const [first, last] = [rows[0], rows[rows.length - 1]].map((row) => `${row.loss.toFixed(2)} at step ${row.step}`);
    element.setAttribute(
      "aria-label",
      `Loss in nats per token from ${first} to ${last}; circles are validation scores`,
    );
    return element.replaceChildren(
      ...curveTicks(scales),
      draw("polyline", { points: points.join(" "), class: "nbt-loss" }),
      ...evaluated.map((row) => circle(scales, row)),
    );
  }
  return { element, show };
}

/** The numbers of the curve as a table. */
function curveTable(rows) {
  const head = ["step", "loss", "validation perplexity", "learning rate", "tokens", "seconds"];
  const cells = rows.map((row) => [
    row.step,
    row.loss.toFixed(4),
    row.validation_perplexity?.toFixed(2) ?? "",
    row.learning_rate.toPrecision(3),
    row.tokens,
    row.seconds,
  ]);
  return table("Means of ten steps", head, cells);
}
