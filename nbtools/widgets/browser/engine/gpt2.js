// GPT-2's forward pass (Radford et al., 2019) in fp32, for one text, with a cache of keys and values.

const ROWS = 32; // tokens that are computed together

/** What a layer's weights are called in a checkpoint, and their shape for a width of w, as [outputs, inputs]. */
const LAYER = {
  "ln_1.weight": (w) => [w],
  "ln_1.bias": (w) => [w],
  "attn.c_attn.weight": (w) => [3 * w, w],
  "attn.c_attn.bias": (w) => [3 * w],
  "attn.c_proj.weight": (w) => [w, w],
  "attn.c_proj.bias": (w) => [w],
  "ln_2.weight": (w) => [w],
  "ln_2.bias": (w) => [w],
  "mlp.c_fc.weight": (w) => [4 * w, w],
  "mlp.c_fc.bias": (w) => [4 * w],
  "mlp.c_proj.weight": (w) => [w, 4 * w],
  "mlp.c_proj.bias": (w) => [w],
};

/** The names and shapes of all weights of a model. */
function weightShapes(config) {
  const { n_embd: width, n_layer: layers, vocab_size: vocabulary, n_positions: context } = config;
  const shapes = { "wte.weight": [vocabulary, width], "wpe.weight": [context, width] };
  for (let layer = 0; layer < layers; layer += 1) {
    for (const [name, shape] of Object.entries(LAYER)) shapes[`h.${layer}.${name}`] = shape(width);
  }
  return { ...shapes, "ln_f.weight": [width], "ln_f.bias": [width] };
}

const sizeOf = (shape) => shape.reduce((product, side) => product * side, 1);

class Gpt2 {
  /**
   * config   of the checkpoint
   * fill     fill(name, array) writes a weight, with its outputs as rows, into an array
   * plain    see `Heap`
   */
  constructor(config, fill, plain = false) {
    const { n_embd: width, n_layer: layers, n_head: heads, vocab_size: vocabulary, n_positions: context } = config;
    Object.assign(this, { width, layers, heads, vocabulary, context, epsilon: config.layer_norm_epsilon });
    this.size = width / heads; // of a head
    this.scale = config.scale_attn_weights === false ? 1 : this.size ** -0.5;
    const shapes = weightShapes(config);
    const weights = Object.values(shapes).reduce((sum, shape) => sum + sizeOf(shape) + 4, 0);
    const activations = ROWS * width * (1 + 1 + 3 + 1 + 4) + width + vocabulary + 64;
    this.heap = new Heap(4 * (weights + activations), plain);
    this.weights = {};
    for (const [name, shape] of Object.entries(shapes)) {
      this.weights[name] = this.heap.floats(sizeOf(shape));
      fill(name, this.weights[name]);
    }
    this.parameters = Object.values(shapes).reduce((sum, shape) => sum + sizeOf(shape), 0);
    const rows = (columns) => this.heap.floats(ROWS * columns);
    this.work = { stream: rows(width), normed: rows(width), qkv: rows(3 * width), mixed: rows(width), wide: rows(4 * width) };
    this.last = this.heap.floats(width); // the final vector of one token
    this.scores = this.heap.floats(vocabulary);
  }

  newCache() {
    const rows = () => Array.from({ length: this.layers }, () => new Float32Array(this.context * this.width));
    return { length: 0, keys: rows(), values: rows() };
  }

  /**
   * Read tokens after those in the cache, and return the residual stream after the last of them, float32 [width].
   *
   * record   an object that gets, for a pass over a whole text: `weights` [layers][heads · tokens · tokens], `queries`, `keys` and `values`
   *          [layers][tokens · width], and `streams`, the residual stream before and after each layer [layers + 1][tokens · width]
   * without  heads whose output is set to zero, as strings "layer.head"
   */
  read(ids, cache, { record = null, without = null } = {}) {
    if (cache.length + ids.length > this.context) throw new Error(`The model reads at most ${this.context} tokens.`);
    if (record) this.prepare(record, ids.length);
    for (let begin = 0; begin < ids.length; begin += ROWS) this.readRows(ids.slice(begin, begin + ROWS), cache, record, without);
    const rows = ((ids.length - 1) % ROWS) + 1;
    return this.work.stream.slice((rows - 1) * this.width, rows * this.width);
  }

  prepare(record, count) {
    const all = (size, number = this.layers) => Array.from({ length: number }, () => new Float32Array(size));
    record.weights = all(this.heads * count * count);
    for (const name of ["queries", "keys", "values"]) record[name] = all(count * this.width);
    record.streams = all(count * this.width, this.layers + 1);
    record.count = count;
  }

  readRows(ids, cache, record, without) {
    const { weights, work, heap, width } = this;
    const rows = ids.length;
    const past = cache.length;
    const { stream, normed, qkv, mixed, wide } = work;
    const keep = (layer) => record?.streams[layer].set(stream.subarray(0, rows * width), past * width);
    ids.forEach((id, row) => {
      for (let at = 0; at < width; at += 1) {
        stream[row * width + at] = weights["wte.weight"][id * width + at] + weights["wpe.weight"][(past + row) * width + at];
      }
    });
    for (let layer = 0; layer < this.layers; layer += 1) {
      keep(layer);
      const of = (name) => weights[`h.${layer}.${name}`];
      this.norm(normed, stream, of("ln_1.weight"), of("ln_1.bias"), rows);
      heap.matmul(qkv, normed, of("attn.c_attn.weight"), of("attn.c_attn.bias"), rows, width, 3 * width);
      this.attend(layer, rows, cache, record, without);
      heap.matmul(normed, mixed, of("attn.c_proj.weight"), of("attn.c_proj.bias"), rows, width, width);
      add(stream, normed, rows * width);
      this.norm(normed, stream, of("ln_2.weight"), of("ln_2.bias"), rows);
      heap.matmul(wide, normed, of("mlp.c_fc.weight"), of("mlp.c_fc.bias"), rows, width, 4 * width);
      gelu(wide, rows * 4 * width);
      heap.matmul(normed, wide, of("mlp.c_proj.weight"), of("mlp.c_proj.bias"), rows, 4 * width, width);
      add(stream, normed, rows * width);
    }
    keep(this.layers);
    cache.length += rows;
  }

  /** Causal attention of the rows in `work.qkv`, whose keys and values join the cache; the heads' outputs go to `work.mixed`. */
  attend(layer, rows, cache, record, without) {
    const { width, size, heads, scale } = this;
    const { qkv, mixed } = this.work;
    const [keys, values] = [cache.keys[layer], cache.values[layer]];
    const past = cache.length;
    const weights = new Float32Array(past + rows);
    for (let row = 0; row < rows; row += 1) {
      const from = row * 3 * width;
      const place = (past + row) * width;
      keys.set(qkv.subarray(from + width, from + 2 * width), place);
      values.set(qkv.subarray(from + 2 * width, from + 3 * width), place);
      record?.queries[layer].set(qkv.subarray(from, from + width), place);
      record?.keys[layer].set(keys.subarray(place, place + width), place);
      record?.values[layer].set(values.subarray(place, place + width), place);
      for (let head = 0; head < heads; head += 1) {
        const seen = past + row + 1;
        const query = from + head * size;
        for (let token = 0; token < seen; token += 1) {
          const key = token * width + head * size;
          let product = 0;
          for (let at = 0; at < size; at += 1) product += qkv[query + at] * keys[key + at];
          weights[token] = product * scale;
        }
        softmax(weights, seen);
        record?.weights[layer].set(weights.subarray(0, seen), (head * record.count + past + row) * record.count);
        const out = row * width + head * size;
        mixed.fill(0, out, out + size);
        if (without?.has(`${layer}.${head}`)) continue;
        for (let token = 0; token < seen; token += 1) {
          const value = token * width + head * size;
          const weight = weights[token];
          for (let at = 0; at < size; at += 1) mixed[out + at] += weight * values[value + at];
        }
      }
    }
  }

  /** Layer normalization (Ba et al., 2016) of `rows` rows. */
  norm(out, x, weight, bias, rows) {
    const { width, epsilon } = this;
    for (let begin = 0; begin < rows * width; begin += width) {
      let sum = 0;
      for (let at = 0; at < width; at += 1) sum += x[begin + at];
      const mean = sum / width;
      let squares = 0;
      for (let at = 0; at < width; at += 1) squares += (x[begin + at] - mean) ** 2;
      const factor = 1 / Math.sqrt(squares / width + epsilon);
      for (let at = 0; at < width; at += 1) out[begin + at] = (x[begin + at] - mean) * factor * weight[at] + bias[at];
    }
  }

  /** The logits from the residual stream of one token, float32 [vocabulary]. */
  logits(stream) {
    this.work.stream.set(stream);
    this.norm(this.last, this.work.stream, this.weights["ln_f.weight"], this.weights["ln_f.bias"], 1);
    this.heap.matmul(this.scores, this.last, this.weights["wte.weight"], null, 1, this.width, this.vocabulary);
    return this.scores.slice();
  }
}

function add(sum, more, count) {
  for (let at = 0; at < count; at += 1) sum[at] += more[at];
}

/** GELU by the hyperbolic tangent (Hendrycks and Gimpel, 2016), as GPT-2 has it. */
function gelu(x, count) {
  const factor = Math.sqrt(2 / Math.PI);
  for (let at = 0; at < count; at += 1) {
    const value = x[at];
    x[at] = 0.5 * value * (1 + Math.tanh(factor * (value + 0.044715 * value * value * value)));
  }
}

/** The softmax of the first `count` numbers, in place. */
function softmax(x, count) {
  let largest = -Infinity;
  for (let at = 0; at < count; at += 1) if (x[at] > largest) largest = x[at];
  let sum = 0;
  for (let at = 0; at < count; at += 1) {
    x[at] = Math.exp(x[at] - largest);
    sum += x[at];
  }
  for (let at = 0; at < count; at += 1) x[at] /= sum;
}
