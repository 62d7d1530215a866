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
  const buttons = headButtons("Heads, one row per layer", "nbt-thumb", 44, (layer, head) => explorer.go(layer, head));
  function show() {
    const [layers, heads] = data.shape;
    const size = Math.min(explorer.count(), THUMBNAIL);
    const bytes = numbers(data.thumbnails, Uint8Array);
    buttons.fill(layers, heads, (one, layer, head) => {
      const canvas = make("canvas");
      paint(canvas, size, triangle(bytes, layers * heads, size, layer * heads + head), { linear: true });
      one.append(canvas);
    });
    mark();
  }
  /** Mark the chosen head, and the kinds of heads once they are scored. */
  function mark() {
    buttons.mark((layer, head, one) => {
      one.dataset.kind = headKind(data.scores, layer, head);
      return layer === data.layer && (explorer.heads() === 1 || head === data.head);
    });
  }
  return { element: buttons.element, show, mark };
}
