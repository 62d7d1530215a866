// Answers the attention explorer, as nbtools/widgets/attention_explorer.py and nbtools.attention do.

const MODES = ["raw", "without first", "value-weighted", "rollout"];
const THUMBNAIL_SIDE = 14;
const WORDS = 3;
const LENS_TOP = 5;
const SCORED = 24; // tokens of a random sequence
const SCORED_ROWS = 4;

/** One pass over a text, with the weights of every head: [layers][heads · tokens · tokens]. */
function readAttention(lm, text) {
  const repaired = repairText(text);
  const ids = lm.text(repaired);
  const record = lm.record(ids);
  return { text: repaired, ids, tokens: lm.tokenizer.pieces(repaired, ids), count: ids.length, ...record };
}

/** Weights of heads as 8-bit lower triangles, row by row. `at(head, row, column)` gives them. */
function triangles(heads, count, at) {
  const bytes = new Uint8Array((heads * count * (count + 1)) / 2);
  let place = 0;
  for (let head = 0; head < heads; head += 1) {
    for (let row = 0; row < count; row += 1) {
      for (let column = 0; column <= row; column += 1) {
        bytes[place] = Math.round(255 * at(head, row, column));
        place += 1;
      }
    }
  }
  return bytes;
}

/** All heads at most THUMBNAIL_SIDE wide: the square root of the largest weight in each square. */
function thumbnails(lm, { weights, count }) {
  const { layers, heads } = lm.network;
  const size = Math.min(count, THUMBNAIL_SIDE);
  const edges = Array.from({ length: size + 1 }, (_, index) => Math.floor((index * count) / size));
  const most = (matrix, head, row, column) => {
    let found = 0;
    for (let i = edges[row]; i < edges[row + 1]; i += 1) {
      for (let j = edges[column]; j < edges[column + 1]; j += 1) {
        found = Math.max(found, matrix[(head * count + i) * count + j]);
      }
    }
    return Math.sqrt(found);
  };
  return triangles(layers * heads, size, (index, row, column) =>
    most(weights[Math.floor(index / heads)], index % heads, row, column),
  );
}

class AttentionExplorer extends View {
  static threaded = new Set(["ablate", "score"]);
  static answersOnly = new Set(["row", "export"]);

  constructor(channel, { models }, { model = "base", text, mode = "raw", layer = 0, head = 0 }) {
    super(channel);
    this.lm = models[model];
    Object.assign(this, { mode, layer, head, reading: readAttention(this.lm, text) });
    this.shown = { modes: MODES, scores: {}, running: "", ...this.overview() };
  }

  overview() {
    const { layers, heads } = this.lm.network;
    const { text, tokens, count } = this.reading;
    return {
      model: this.lm.name,
      title: `${this.lm.name}: ${layers} layers of ${heads} heads, ${count} tokens`,
      text,
      tokens,
      shape: [layers, heads],
      thumbnails: thumbnails(this.lm, this.reading),
      cell: {},
      ablation: {},
      lens: {},
      ...this.matrices(),
    };
  }

  matrices() {
    const { layer, head, mode } = this;
    const { count } = this.reading;
    const { heads, weights } = this.weights(layer, mode);
    const packed = triangles(heads, count, (one, row, column) => weights[(one * count + row) * count + column]);
    return { layer, head, mode, triangles: packed };
  }

  /** The weights of one layer in a mode: [heads · tokens · tokens]. */
  weights(layer, mode) {
    const { count, weights } = this.reading;
    const { heads } = this.lm.network;
    if (mode === "raw") return { heads, weights: weights[layer] };
    if (mode === "rollout") return { heads: 1, weights: this.rollout(layer) };
    const norms = mode === "value-weighted" ? this.valueNorms(layer) : null;
    const changed = new Float32Array(weights[layer].length);
    for (let begin = 0, row = 0; begin < changed.length; begin += count, row += 1) {
      const head = Math.floor(row / count);
      let sum = 0;
      for (let column = 0; column < count; column += 1) {
        const factor = norms ? norms[head * count + column] : Number(column > 0);
        changed[begin + column] = weights[layer][begin + column] * factor;
        sum += changed[begin + column];
      }
      if (sum > 0) for (let column = 0; column < count; column += 1) changed[begin + column] /= sum;
    }
    return { heads, weights: changed };
  }

  /** The norm of what each head adds to the residual stream for each token's value: [heads · tokens]. */
  valueNorms(layer) {
    const { width, heads, size, weights } = this.lm.network;
    const output = weights[`h.${layer}.attn.c_proj.weight`]; // [width, width], outputs as rows
    const { count, values } = this.reading;
    const norms = new Float32Array(heads * count);
    for (let head = 0; head < heads; head += 1) {
      for (let token = 0; token < count; token += 1) {
        let squares = 0;
        for (let row = 0; row < width; row += 1) {
          let sum = 0;
          for (let at = head * size; at < (head + 1) * size; at += 1) {
            sum += output[row * width + at] * values[layer][token * width + at];
          }
          squares += sum * sum;
        }
        norms[head * count + token] = Math.sqrt(squares);
      }
    }
    return norms;
  }

  /** Attention multiplied through the layers (Abnar and Zuidema, 2020). */
  rollout(layer) {
    const { count, weights } = this.reading;
    const { heads } = this.lm.network;
    let found = null;
    for (let at = 0; at <= layer; at += 1) {
      const mixed = new Float64Array(count * count);
      for (let index = 0; index < mixed.length; index += 1) {
        for (let head = 0; head < heads; head += 1) mixed[index] += weights[at][head * count * count + index];
        mixed[index] = 0.5 * (mixed[index] / heads) + (index % (count + 1) === 0 ? 0.5 : 0);
      }
      found = found ? product(mixed, found, count) : mixed;
    }
    return Float32Array.from(found);
  }

  on_text({ text }) {
    this.reading = readAttention(this.lm, text);
    return this.overview();
  }

  on_layer({ layer, head, mode }) {
    Object.assign(this, { layer, head, mode });
    return this.matrices();
  }

  on_head({ head }) {
    this.head = head;
    return { head };
  }

  /** The exact weights of the matrix that is shown. */
  matrix() {
    const { count } = this.reading;
    const { heads, weights } = this.weights(this.layer, this.mode);
    const from = Math.min(this.head, heads - 1) * count * count;
    return weights.subarray(from, from + count * count);
  }

  on_row({ index, column = false }) {
    const { count } = this.reading;
    const matrix = this.matrix();
    const exact = Float32Array.from({ length: count }, (_, at) => matrix[column ? at * count + index : index * count + at]);
    const { layer, head, mode } = this;
    return { row: { layer, head, mode, index, column: Boolean(column) }, exact };
  }

  on_cell({ row, column }) {
    const { layer, head } = this;
    const { queries, keys, weights, count } = this.reading;
    const { width, size, scale } = this.lm.network;
    const products = Array.from({ length: count }, (_, token) => {
      let sum = 0;
      for (let at = head * size; at < (head + 1) * size; at += 1) {
        sum += queries[layer][row * width + at] * keys[layer][token * width + at];
      }
      return sum;
    });
    const total = products.slice(0, row + 1).reduce((sum, value) => sum + Math.exp(value * scale), 0);
    const masked = column > row;
    const weight = weights[layer][(head * count + row) * count + column];
    const score = masked ? null : products[column] * scale;
    const numbers = { product: products[column], scale, score, masked, total, weight };
    return { cell: { ...numbers, row, column, layer, head, width: size } };
  }

  async on_ablate(request) {
    const { layers, heads } = this.lm.network;
    const { ids } = this.reading;
    const words = this.wordIds(request.words ?? "");
    const scores = (without) => {
      const stream = this.lm.network.read(ids, this.lm.network.newCache(), { without });
      const found = logSoftmax(Float64Array.from(this.lm.network.logits(stream)));
      return words.map((id) => found[id]);
    };
    const whole = scores(null);
    const change = [];
    for (let layer = 0; layer < layers; layer += 1) {
      change.push([]);
      for (let head = 0; head < heads; head += 1) {
        const found = scores(new Set([`${layer}.${head}`]));
        change[layer].push(found.map((value, index) => value - whole[index]));
        if (await this.stopped(request)) return {};
      }
    }
    return { ablation: { words: words.map((id) => visible(this.lm.tokenizer.textOf(id))), change } };
  }

  /** The first token of each word, after a space; without words, the likeliest next tokens. */
  wordIds(words) {
    const given = words.split(/\s+/).filter(Boolean);
    if (!given.length) return largest(this.reading.logits, WORDS);
    return given.map((word) => this.lm.tokenizer.encode(` ${word}`)[0]);
  }

  on_lens({ position }) {
    const { streams } = this.reading;
    const { width } = this.lm.network;
    const rows = streams.map((stream) => {
      const probabilities = softmaxOf(this.lm.network.logits(stream.subarray(position * width, (position + 1) * width)));
      const best = largest(probabilities, LENS_TOP);
      return { texts: best.map((id) => visible(this.lm.tokenizer.textOf(id))), shares: best.map((id) => probabilities[id]) };
    });
    return { lens: { position, texts: rows.map((row) => row.texts), probabilities: rows.map((row) => row.shares) } };
  }

  /** Scores that tell previous-token heads and induction heads (Olsson et al., 2022), on random tokens repeated once. */
  async on_score(request) {
    const { layers, heads, context, vocabulary } = this.lm.network;
    const length = Math.min(SCORED, Math.floor(context / 2));
    const draws = uniforms(0, SCORED_ROWS * length);
    const zeros = () => Array.from({ length: layers }, () => new Array(heads).fill(0));
    const scores = { previous: zeros(), induction: zeros(), first: zeros() };
    for (let row = 0; row < SCORED_ROWS; row += 1) {
      const once = draws.slice(row * length, (row + 1) * length).map((draw) => 1 + Math.floor(draw * (vocabulary - 1)));
      const { weights } = this.lm.record([...once, ...once]);
      for (let layer = 0; layer < layers; layer += 1) {
        for (let head = 0; head < heads; head += 1) {
          for (let query = length; query < 2 * length; query += 1) {
            const from = (head * 2 * length + query) * 2 * length;
            const part = 1 / (SCORED_ROWS * length);
            scores.previous[layer][head] += weights[layer][from + query - 1] * part;
            scores.induction[layer][head] += weights[layer][from + query - length + 1] * part;
            scores.first[layer][head] += weights[layer][from] * part;
          }
        }
      }
      if (await this.stopped(request)) return {};
    }
    return { scores };
  }

  on_export() {
    return { matrix: this.matrix().slice(), tokens: this.reading.tokens };
  }
}

/** The product of two square matrices. */
function product(left, right, count) {
  const found = new Float64Array(count * count);
  for (let row = 0; row < count; row += 1) {
    for (let at = 0; at < count; at += 1) {
      const factor = left[row * count + at];
      if (factor) for (let column = 0; column < count; column += 1) found[row * count + column] += factor * right[at * count + column];
    }
  }
  return found;
}
