// Answers the microscope, as nbtools/widgets/microscope.py does.

const MOST_CHANGES = 12;
const FLOOR = 1e-3; // of the probability in at least one of the models

class Microscope extends View {
  constructor(channel, { models }, { prompt, seed = 0, ...params }) {
    super(channel);
    this.pair = [models.base, models.tuned];
    this.params = { temperature: 0.7, top_k: 50, top_p: 0.95, min_p: 0, repetition_penalty: 1, max_new_tokens: 40, ...params };
    this.begin = this.on_compare({ prompt, seed }).then((shown) => {
      this.shown = shown;
    });
  }

  async on_compare({ prompt, seed }) {
    const text = repairText(prompt);
    if (!text) throw new Error("The prompt is empty. Write the beginning of a text.");
    const readings = this.pair.map((lm) => readAttention(lm, text));
    const { layers, heads } = this.pair[0].network;
    const { count, tokens } = readings[0];
    const shift = readings[0].weights.map((_, layer) =>
      Array.from({ length: heads }, (__, head) => (count > 1 ? divergence(readings, layer, head, count) : 0)),
    );
    const most = Math.max(...shift.flat());
    const at = Math.max(0, shift.flat().indexOf(most));
    const texts = await this.texts(text, seed);
    this.readings = readings;
    const title = `${this.pair[0].name} and ${this.pair[1].name}`;
    const chosen = this.head(Math.floor(at / heads) % layers, at % heads);
    return { title, prompt: text, seed, changes: this.changes(readings), tokens, shift, texts, ...chosen };
  }

  on_head({ layer, head }) {
    return this.head(layer, head);
  }

  head(layer, head) {
    const { count } = this.readings[0];
    const at = (which, row, column) => this.readings[which].weights[layer][(head * count + row) * count + column];
    return { layer, head, triangles: triangles(2, count, at) };
  }

  /** Rows of text, probability before and after, and change in nats, from the largest gain to the largest loss. */
  changes(readings) {
    const [before, after] = readings.map(({ logits }) => softmaxOf(logits));
    const rows = [];
    before.forEach((share, id) => {
      if (Math.max(share, after[id]) >= FLOOR) rows.push([id, share, after[id], Math.log(after[id]) - Math.log(share)]);
    });
    rows.sort((one, other) => other[3] - one[3]);
    const gains = rows.slice(0, MOST_CHANGES).filter(([, , , change]) => change > 0);
    const losses = rows.slice(-MOST_CHANGES).filter(([, , , change]) => change < 0);
    const { tokenizer } = this.pair[0];
    return [...gains, ...losses].map(([id, ...numbers]) => [visible(tokenizer.textOf(id)), ...numbers]);
  }

  async texts(prompt, seed) {
    const written = [];
    for (const lm of this.pair) {
      const texts = [];
      const ids = lm.prompt(prompt, this.params.max_new_tokens);
      for await (const { text } of continueIds(lm, ids, { ...this.params, seed }, 0, () => this.stopped())) texts.push(text);
      written.push(texts);
    }
    const [before, after] = written;
    const named = ["temperature", "top_k", "top_p"].map((name) => `${name}=${this.params[name]}`).join(", ");
    return { before, after, decoding: `sampling, ${named}` };
  }
}

/** The Jensen-Shannon divergence of a head's rows under two models, in bits, averaged over all rows but the first. */
function divergence(readings, layer, head, count) {
  const entropy = (share) => (share > 0 ? -share * Math.log2(share) : 0);
  let sum = 0;
  for (let row = 1; row < count; row += 1) {
    for (let column = 0; column <= row; column += 1) {
      const [p, q] = readings.map(({ weights }) => weights[layer][(head * count + row) * count + column]);
      sum += entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2;
    }
  }
  return sum / (count - 1);
}
