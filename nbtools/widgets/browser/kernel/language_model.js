// A model and its tokenizer, as the views of the course use them: the counterpart of nbtools.models.LanguageModel in the browser.

const NEVER = -1e9; // the score of a beam that does not exist

class LanguageModel {
  /**
   * name, kind  what it and its class are called
   * config      of the checkpoint
   * tokenizer   a Tokenizer
   * fill, plain see `Gpt2`
   */
  constructor({ name, kind, config, tokenizer, fill, plain = false }) {
    Object.assign(this, { name, kind, tokenizer });
    this.network = new Gpt2(config, fill, plain);
    this.context = this.network.context;
    this.vocabulary = this.network.vocabulary;
    this.document = config.eos_token_id;
    this.ends = new Set([this.document]);
    this.arrays = distributionArrays(this.vocabulary);
    this.cache = this.network.newCache();
    this.cached = []; // the tokens in the cache
  }

  /** The ids of a prompt, cut at its beginning where it leaves no room for `most` new tokens; the end-of-text token if it is empty. */
  prompt(text, most = 1) {
    const ids = this.tokenizer.encode(text);
    return ids.length ? ids.slice(-(this.context - most)) : [this.document];
  }

  /** The ids of a text that is to be looked into. Throws an Error for one that is empty or too long. */
  text(text) {
    const ids = this.tokenizer.encode(text);
    if (!ids.length) throw new Error("There is no text to trace. Give a sentence.");
    if (ids.length > this.context) {
      throw new Error(`The text has ${ids.length} tokens and ${this.name} reads at most ${this.context}. Give a shorter text.`);
    }
    return ids;
  }

  /** The logits after `ids`, float32 [vocabulary]. Tokens that were read last time are not read again. */
  logits(ids) {
    let same = 0;
    while (same < ids.length - 1 && this.cached[same] === ids[same]) same += 1;
    this.cache.length = same;
    const stream = this.network.read(ids.slice(same), this.cache);
    this.cached = ids.slice();
    return this.network.logits(stream);
  }

  /** Everything of one pass over `ids` (see `Gpt2.read`), and the logits after the last token. */
  record(ids) {
    const record = {};
    const stream = this.network.read(ids, this.network.newCache(), { record });
    return { ...record, logits: this.network.logits(stream) };
  }

  /** The text that `added` adds to `prompt`, without tokens that end a text. */
  added(prompt, added) {
    const kept = added.filter((id) => !this.ends.has(id));
    return this.tokenizer.decode([...prompt, ...kept]).slice(this.tokenizer.decode(prompt).length);
  }

  /**
   * Beam search as in transformers: the `most` tokens with the largest mean log-probability among those that `count` beams find.
   * `pause` is awaited between tokens and ends the search early if it returns true.
   */
  async beams(prompt, count, most, penalty, pause) {
    const { network } = this;
    const limit = Math.min(most, this.context - prompt.length);
    const first = network.newCache();
    let running = [{ ids: [], score: 0, cache: first, stream: network.read(prompt, first) }];
    let finished = [];
    for (let length = 1; length <= limit; length += 1) {
      const candidates = [];
      running.forEach((beam) => {
        const scores = penalized(logSoftmax(network.logits(beam.stream)), [...prompt, ...beam.ids], penalty);
        for (const id of largest(scores, 2 * count)) candidates.push({ beam, id, score: beam.score + scores[id] });
      });
      candidates.sort((one, other) => other.score - one.score);
      const kept = candidates.slice(0, 2 * count);
      const ended = ({ id }) => this.ends.has(id) || length === limit;
      for (const one of kept.slice(0, count).filter(ended)) {
        finished.push({ ids: [...one.beam.ids, one.id], score: one.score / length });
      }
      finished = finished.sort((one, other) => other.score - one.score).slice(0, count);
      const next = kept.filter((one) => !ended(one)).slice(0, count);
      const worst = finished.length < count ? NEVER : finished[count - 1].score;
      if (!next.length || next[0].score / length <= worst || (await pause())) break;
      running = next
        .map((one, index) => ({ ...one, copy: next.slice(index + 1).some(({ beam }) => beam === one.beam) }))
        .map(({ beam, id, score, copy }) => {
          const cache = copy ? this.copyCache(beam.cache) : beam.cache;
          return { ids: [...beam.ids, id], score, cache, id };
        })
        .map(({ id, ...beam }) => ({ ...beam, stream: network.read([id], beam.cache) }));
    }
    return (finished[0] ?? running[0]).ids;
  }

  copyCache({ length, keys, values }) {
    const copy = this.network.newCache();
    copy.length = length;
    const size = length * this.network.width;
    keys.forEach((layer, index) => copy.keys[index].set(layer.subarray(0, size)));
    values.forEach((layer, index) => copy.values[index].set(layer.subarray(0, size)));
    return copy;
  }
}

function logSoftmax(logits) {
  const top = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const total = Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0));
  return logits.map((value) => value - top - total);
}

function softmaxOf(logits) {
  return Float64Array.from(logSoftmax(Float64Array.from(logits)), Math.exp);
}

/** Scores with the repetition penalty of Keskar et al. (2019). */
function penalized(scores, history, penalty) {
  if (penalty === 1) return scores;
  for (const id of new Set(history)) scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  return scores;
}

/** The indices of the `count` largest numbers, the largest first; of equal ones the first. */
function largest(values, count) {
  const found = []; // in falling order
  let least = -Infinity;
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index];
    if (found.length === count && !(value > least)) continue;
    let at = found.length;
    while (at && values[found[at - 1]] < value) at -= 1;
    found.splice(at, 0, index);
    if (found.length > count) found.pop();
    least = values[found[found.length - 1]];
  }
  return found;
}
