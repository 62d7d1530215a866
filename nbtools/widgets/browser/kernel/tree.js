// A tree of continuations of one prompt: the counterpart of nbtools.generation.TextTree, with the same random numbers.

const ROOT = -1; // the prompt itself
const ALTERNATIVES = 8;
const GREEDY_BELOW = 1e-5;
const PLAIN = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };

class TextTree {
  constructor(lm, prompt, most = 1) {
    this.lm = lm;
    this.prompt = repairText(prompt);
    this.promptIds = lm.prompt(prompt, most);
    this.nodes = [];
  }

  path(number) {
    const found = [];
    for (let at = number; at !== ROOT; at = this.nodes[at].parent) found.unshift(at);
    return found;
  }

  ids(number) {
    return [...this.promptIds, ...this.path(number).map((at) => this.nodes[at].token)];
  }

  text(number) {
    return this.prompt + this.lm.added(this.promptIds, this.ids(number).slice(this.promptIds.length));
  }

  /** The distribution after `ids`, and the token that `uniform` selects of it; the likeliest one in greedy decoding. */
  choose(ids, settings, uniform) {
    const ranking = ranked(this.lm.logits(ids), ids, settings.repetition_penalty ?? 1, this.lm.arrays);
    const greedy = settings.temperature < GREEDY_BELOW;
    const { probabilities, order } = warp(ranking, greedy ? PLAIN : settings);
    const token = greedy ? order[0] : sampleInverseCdf(probabilities, uniform).id;
    return { probabilities, order, token, uniform: greedy ? null : uniform };
  }

  /** Continue after a node, token by token; `stopped()` is awaited after each and ends it. */
  async *grow(number, settings, stopped) {
    const ids = this.ids(number);
    const room = Math.min(settings.max_new_tokens, this.lm.context - ids.length);
    if (number !== ROOT && this.lm.ends.has(this.nodes[number].token)) return;
    const depth = ids.length - this.promptIds.length;
    const numbers = uniforms(settings.seed, depth + Math.max(0, room));
    let parent = number;
    for (let step = 0; step < room; step += 1) {
      const chosen = this.choose(ids, settings, numbers[depth + step]);
      const node = this.add(parent, chosen);
      parent = node.number;
      ids.push(node.token);
      yield node;
      if ((await stopped()) || this.lm.ends.has(node.token)) return;
    }
  }

  /** Another token instead of a node, chosen by hand. */
  fork(number, token, settings) {
    const { parent } = this.nodes[number];
    const known = this.nodes.find((other) => other.parent === parent && other.token === token);
    if (known) return known;
    return this.add(parent, { ...this.choose(this.ids(parent), settings, 0), token, uniform: null });
  }

  add(parent, { probabilities, order, token, uniform }) {
    const likely = Array.from(order.slice(0, ALTERNATIVES)).filter((id) => probabilities[id] > 0);
    const shown = likely.includes(token) ? likely : [...likely, token];
    const alternatives = shown.map((id) => [id, this.lm.tokenizer.textOf(id), probabilities[id]]);
    const depth = parent === ROOT ? 0 : this.nodes[parent].depth + 1;
    const text = this.lm.tokenizer.textOf(token);
    const node = { number: this.nodes.length, parent, depth, token, text, probability: probabilities[token], uniform, alternatives };
    this.nodes.push(node);
    return node;
  }
}
