// Answers the prompt lab, as nbtools/widgets/prompt_lab.py does.

const NAMED_TOKENS = 256;
const LONGEST = 400;
const MOST_NODES = 5_000;
const LIMITS = { temperature: [0, 100], top_k: [0, Infinity], top_p: [0, 1], min_p: [0, 1], repetition_penalty: [1e-9, 100], seed: [0, 2 ** 31 - 1] };

/** Throw an Error for a setting that is impossible. */
function checkSettings(settings) {
  for (const [name, [least, most]] of Object.entries(LIMITS)) {
    const value = settings[name];
    if (!(Number.isFinite(value) && value >= least && value <= most)) {
      throw new Error(`${name} is ${value}. Give a number from ${least} to ${most}.`);
    }
  }
}

class PromptLab extends View {
  static threaded = new Set(["generate", "step", "fork", "replay", "compare"]);

  constructor(channel, { models }, { model = "base", prompt = "The movie was", ...given }) {
    super(channel);
    this.lm = models[model];
    this.longest = Math.min(LONGEST, this.lm.context - 1);
    const defaults = { temperature: 0.7, top_k: 50, top_p: 0.95, min_p: 0, repetition_penalty: 1, max_new_tokens: 50, seed: 0 };
    const settings = { ...defaults, ...given };
    checkSettings(settings);
    settings.max_new_tokens = Math.min(settings.max_new_tokens, this.longest);
    this.traits = { prompt, settings };
    this.tree = new TextTree(this.lm, prompt);
    const { parameters } = this.lm.network;
    const whole = (number) => Math.round(number).toLocaleString("en");
    const size = `${whole(parameters / 1e6)} million parameters, context ${whole(this.lm.context)}, ${whole(this.lm.vocabulary)} tokens`;
    const constant = { title: `${this.lm.name}: ${this.lm.kind}, ${size}`, model: this.lm.name, longest: this.longest, running: "" };
    this.shown = { ...constant, ...this.newTree(), ...this.next() };
  }

  on_change({ prompt = this.traits.prompt, settings = this.traits.settings }) {
    checkSettings(settings);
    if (JSON.stringify(settings) !== JSON.stringify(this.traits.settings)) this.set({ settings });
    if (prompt !== this.traits.prompt) this.set({ prompt });
    if (!this.active) {
      this.followPrompt();
      this.show(this.next());
    }
  }

  on_visit({ node }) {
    if (this.active) return {};
    this.at = node;
    return this.next();
  }

  async on_generate(request) {
    this.begin(request);
    await this.write(ROOT, request);
    return this.end(request);
  }

  async on_step(request) {
    this.begin(request);
    await this.write(request.node < this.tree.nodes.length ? request.node : ROOT, request, { max_new_tokens: 1 });
    return this.end(request);
  }

  async on_fork(request) {
    this.begin(request);
    const { settings } = this.traits;
    const branch = this.tree.fork(request.node, request.token, settings);
    this.add(branch, request);
    const left = settings.max_new_tokens - branch.depth - 1;
    if (left > 0) await this.write(branch.number, request, { max_new_tokens: left });
    return this.end(request);
  }

  async on_replay(request) {
    const temperature = Number(request.temperature);
    checkSettings({ ...this.traits.settings, temperature });
    this.begin(request);
    const path = this.tree.path(this.at).map((number) => this.tree.nodes[number]);
    const first = path.length ? path : await this.write(ROOT, request);
    const second = await this.write(ROOT, request, { temperature, max_new_tokens: first.length });
    const [before, after] = [first, second].map((nodes) => nodes.map(({ token, text }) => [token, text]));
    const replayed = { temperature_before: this.traits.settings.temperature, temperature_after: temperature, before, after };
    return { replayed, ...this.end(request) };
  }

  async on_compare(request) {
    this.begin(request);
    const { prompt, settings } = this.traits;
    const { max_new_tokens: most, repetition_penalty: penalty } = settings;
    const ids = this.lm.prompt(prompt, most);
    const sampled = { ...settings, temperature: settings.temperature || 1 };
    const stopped = () => this.stopped(request);
    const text = async (changes) => {
      const tree = new TextTree(this.lm, prompt, most);
      let last = ROOT;
      for await (const node of tree.grow(ROOT, { ...settings, ...changes }, stopped)) last = node.number;
      return tree.text(last);
    };
    const ways = [
      ["greedy", () => text({ temperature: 0 })],
      [this.describe(sampled), () => text(sampled)],
      [`beam search, ${BEAMS} beams`, async () => prompt + this.lm.added(ids, await this.lm.beams(ids, most, penalty, stopped))],
    ];
    const rows = [];
    for (const [name, write] of ways) {
      rows.push([name, await write()]);
      this.update(request, { compared: rows.slice() });
      if (request.cancelled) break;
    }
    return { compared: rows, ...this.end(request) };
  }

  /** How tokens are sampled, in a few words. */
  describe(settings) {
    const given = ["temperature", "top_k", "top_p", "min_p"].filter((name) => settings[name] !== OFF[name]);
    const words = `sampling, ${given.map((name) => `${name}=${settings[name]}`).join(", ")}`;
    return settings.repetition_penalty === 1 ? words : `${words}, repetition_penalty=${settings.repetition_penalty}`;
  }

  begin(request) {
    const { settings = this.traits.settings, prompt = this.traits.prompt } = request;
    checkSettings(settings);
    if (prompt !== this.traits.prompt) this.set({ prompt });
    if (JSON.stringify(settings) !== JSON.stringify(this.traits.settings)) this.set({ settings });
    this.followPrompt();
  }

  async write(from, request, changes = {}) {
    let node = from;
    if (this.tree.nodes.length > MOST_NODES) {
      this.tree = new TextTree(this.lm, this.traits.prompt);
      node = ROOT;
      this.show(this.newTree());
    }
    const made = [];
    for await (const one of this.tree.grow(node, { ...this.traits.settings, ...changes }, () => this.stopped(request))) {
      this.add(one, request);
      made.push(one);
    }
    return made;
  }

  add(node, request) {
    this.at = node.number;
    if (node.number === this.shown.nodes.length) this.shown.nodes.push(node);
    this.update(request, { node, at: this.at });
  }

  end(request) {
    return { notice: request.cancelled ? "stopped" : "done", ...this.next() };
  }

  newTree() {
    this.at = ROOT;
    return { root: this.traits.prompt, nodes: [], at: ROOT, replayed: {}, compared: [] };
  }

  followPrompt() {
    if (this.tree.prompt === repairText(this.traits.prompt)) return;
    this.tree = new TextTree(this.lm, this.traits.prompt);
    this.show(this.newTree());
  }

  next() {
    const ids = this.tree.ids(this.at);
    if (ids.length >= this.lm.context) return { at: this.at };
    const logits = this.lm.logits(ids);
    const depth = ids.length - this.tree.promptIds.length;
    const { token } = this.tree.choose(ids, this.traits.settings, uniforms(this.traits.settings.seed, depth + 1)[depth]);
    const named = new Set([...largest(logits, NAMED_TOKENS), token]);
    const texts = Object.fromEntries(Array.from(named, (id) => [id, this.lm.tokenizer.textOf(id)]));
    return { at: this.at, next: { depth, history: [...new Set(ids)], texts }, logits };
  }
}
