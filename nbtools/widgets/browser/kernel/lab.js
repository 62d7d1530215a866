// Answers the prompt lab, as nbtools/widgets/prompt_lab.py does. The view's controls keep values within their limits.

const ROOT = -1; // the prompt itself
const NAMED_TOKENS = 256;
const LONGEST = 400;
const DEFAULTS = { temperature: 0.7, top_k: 50, top_p: 0.95, min_p: 0, repetition_penalty: 1, max_new_tokens: 50, seed: 0 };

class PromptLab extends View {
  static threaded = new Set(["write", "decode"]);
  static answersOnly = new Set(["decode", "names"]);

  constructor(channel, { models }, { model = "base", prompt = "The movie was", ...given }) {
    super(channel);
    this.lm = models[model];
    const longest = Math.min(LONGEST, this.lm.context - 1);
    const settings = { ...DEFAULTS, ...given };
    settings.max_new_tokens = Math.min(settings.max_new_tokens, longest);
    this.traits = { prompt, settings };
    const whole = (number) => Math.round(number).toLocaleString("en");
    const { network, context, vocabulary, name, kind } = this.lm;
    const size = `${whole(network.parameters / 1e6)} million parameters, context ${whole(context)}, ${whole(vocabulary)} tokens`;
    this.shown = { title: `${name}: ${kind}, ${size}`, model: name, longest, running: "", ...this.newTree() };
    Object.assign(this.shown, this.next(ROOT));
  }

  on_change({ prompt = this.traits.prompt, settings = this.traits.settings }) {
    if (JSON.stringify(settings) !== JSON.stringify(this.traits.settings)) this.set({ settings });
    if (prompt !== this.traits.prompt) this.set({ prompt });
    if (!this.active && this.followPrompt()) this.show(this.next(ROOT));
  }

  on_next({ node }) {
    return this.active ? {} : this.next(node);
  }

  async on_write(request) {
    this.followPrompt();
    const { node = ROOT } = request;
    let at = node < this.shown.nodes.length ? node : ROOT; // else of the tree of an earlier prompt
    const settings = { ...this.traits.settings, ...request.changes };
    const path = this.path(at);
    for await (const made of continueIds(this.lm, this.ids(path), settings, path.length, () => this.stopped(request))) {
      at = this.add({ parent: at, ...made }, request);
    }
    return { notice: request.cancelled ? "stopped" : "done", ...this.next(at) };
  }

  on_add(request) {
    if (!this.active) this.add(request.node, request);
  }

  async on_decode(request) {
    const { prompt } = this.traits;
    const { num_beams, ...options } = request.options;
    const settings = { ...DEFAULTS, ...OFF, temperature: 0, ...options };
    const ids = this.lm.prompt(prompt, settings.max_new_tokens);
    const stopped = () => this.stopped(request);
    if (num_beams) {
      const found = await this.lm.beams(ids, num_beams, settings.max_new_tokens, settings.repetition_penalty, stopped);
      return { text: prompt + this.lm.added(ids, found) };
    }
    const made = [];
    for await (const { token } of continueIds(this.lm, ids, settings, 0, stopped)) made.push(token);
    return { text: prompt + this.lm.added(ids, made) };
  }

  on_names({ ids }) {
    return { texts: this.texts(ids) };
  }

  on_keep({ parts }) {
    return parts;
  }

  newTree() {
    const root = repairText(this.traits.prompt);
    this.promptIds = this.lm.prompt(root);
    return { root, nodes: [], at: ROOT, replayed: {}, compared: [] };
  }

  /** Start a new tree if the prompt is another one. Returns whether it is. */
  followPrompt() {
    const changed = this.shown.root !== repairText(this.traits.prompt);
    if (changed) this.show(this.newTree());
    return changed;
  }

  path(number) {
    const { nodes } = this.shown;
    const found = [];
    for (let at = number; at !== ROOT; at = nodes[at].parent) {
      if (!nodes[at]) throw new Error(`There is no token number ${number}. There are ${nodes.length}.`);
      found.unshift(nodes[at]);
    }
    return found;
  }

  ids(path) {
    return [...this.promptIds, ...path.map(({ token }) => token)];
  }

  add(content, request) {
    const { nodes } = this.shown;
    const depth = content.parent === ROOT ? 0 : nodes[content.parent].depth + 1;
    const node = { ...content, number: nodes.length, depth };
    nodes.push(node);
    this.shown.at = node.number;
    this.update(request, { node, at: node.number });
    return node.number;
  }

  next(at) {
    const ids = this.ids(at === ROOT ? [] : this.path(at));
    if (ids.length >= this.lm.context) return { at };
    const logits = this.lm.logits(ids);
    const texts = this.texts(largest(logits, NAMED_TOKENS));
    return { at, next: { depth: ids.length - this.promptIds.length, history: [...new Set(ids)], texts }, logits };
  }

  texts(ids) {
    return Object.fromEntries(Array.from(ids, (id) => [id, this.lm.tokenizer.textOf(id)]));
  }
}
