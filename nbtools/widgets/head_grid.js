// Thumbnails of all heads of the attention explorer.

const THUMBNAIL = 14; // most rows of a thumbnail, as in attention_explorer.py
const INDUCTION = 0.3; // scores from which a head is marked
const PREVIOUS = 0.5;

/** The kind of a head by its scores; "" for no kind. */
function headKind(scores, layer, head) {
  if (!scores.induction) return "";
  if (scores.induction[layer][head] > INDUCTION) return "induction";
  return scores.previous[layer][head] > PREVIOUS ? "previous" : "";
}

function headGrid(explorer) {
  const { data } = explorer;
  const label = "Heads, one row per layer; arrow keys move";
  const element = make("div", { class: "nbt-grid", role: "group", "aria-label": label });
  let buttons = [];
  function show() {
    const [layers, heads] = data.shape;
    const size = Math.min(explorer.count(), THUMBNAIL);
    const bytes = numbers(data.thumbnails, Uint8Array);
    const side = Math.max(18, Math.min(44, Math.floor(380 / heads)));
    buttons = fillHeadGrid(element, layers, heads, side, (layer, head) => {
      const canvas = make("canvas");
      paint(canvas, size, triangle(bytes, layers * heads, size, layer * heads + head), { linear: true });
      const attributes = { type: "button", class: "nbt-thumb", "aria-label": `layer ${layer}, head ${head}` };
      const place = { "data-layer": layer, "data-head": head };
      return make("button", { ...attributes, ...place, onclick: () => explorer.go(layer, head) }, canvas);
    });
    mark();
  }
  /** Mark the chosen head, and the kinds of heads once they are scored. */
  function mark() {
    for (const button of buttons) {
      const [layer, head] = [Number(button.dataset.layer), Number(button.dataset.head)];
      const chosen = layer === data.layer && (explorer.heads() === 1 || head === data.head);
      button.setAttribute("aria-pressed", String(chosen));
      button.dataset.kind = headKind(data.scores, layer, head);
    }
  }
  return { element, show, mark };
}
