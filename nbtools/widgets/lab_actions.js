// What the prompt lab's buttons do. Whatever computes, the kernel or the page's worker, is asked for a text after one
// of the tokens ("write"), for a text beside the tree ("decode"), and for what follows a token ("next").

const MOST_NODES = 5_000; // of a tree; with more of them, the next text from the prompt starts a new tree
const BEAMS = 4;

/** How tokens are sampled, in a few words. */
function describeSampling(options) {
  const given = ["temperature", "top_k", "top_p", "min_p"].filter((name) => name in options);
  const words = `sampling, ${given.map((name) => `${name}=${options[name]}`).join(", ")}`;
  return "repetition_penalty" in options ? `${words}, repetition_penalty=${options.repetition_penalty}` : words;
}

/** Greedy decoding, sampling and beam search: a description of each, and its options. */
function waysOfDecoding(settings) {
  const sampled = Object.fromEntries(optionsOf({ ...settings, temperature: settings.temperature || 1 }));
  const { max_new_tokens, seed, repetition_penalty } = sampled;
  const shared = { max_new_tokens, seed, ...(repetition_penalty === undefined ? {} : { repetition_penalty }) };
  return [
    ["greedy", shared],
    [describeSampling(sampled), sampled],
    [`beam search, ${BEAMS} beams`, { num_beams: BEAMS, ...shared }],
  ];
}

/**
 * The actions by name. Only one is at work at a time; `stop` ends it. `lab.shown()` gives the prompt and the settings
 * that the view shows, which are handed over first. `running` is to be called when a request has begun or ended.
 */
function labActions(lab, refresh) {
  const { view, tree } = lab;
  const { data } = view;
  let acting = false;
  let stopped = false;
  let settings = {}; // those that the action began with

  /** An action that asks for texts. `act` gives what is not true where a request has failed. */
  const action =
    (act) =>
    async (...details) => {
      if (lab.busy()) return;
      acting = true;
      stopped = false;
      refresh();
      view.say("waiting for the kernel …");
      const shown = lab.shown();
      settings = shown.settings;
      const done = (await view.ask("change", shown)) && (await act(...details));
      acting = false;
      refresh();
      if (done) view.say(stopped ? "stopped" : "done");
    };

  /** Continue after a token. The new tokens come one by one, and the last of them is the current one. */
  async function write(node, changes = {}) {
    if (stopped) return true;
    if (node === ROOT && tree.nodes.size > MOST_NODES) {
      await view.ask("keep", { parts: { nodes: [], at: ROOT, replayed: {}, compared: [] } });
    }
    const done = await view.ask("write", { node, changes });
    if (done?.notice === "stopped") stopped = true;
    return Boolean(done);
  }

  /** A token in the place of another one, and a text after it that is as long as the first could be. */
  async function fork(node, token) {
    if (tree.nodes.get(node.number)?.token !== node.token) return true; // the tree of an earlier prompt is gone
    const known = tree.child(node.parent, token);
    const [, text, probability] = node.alternatives.find(([id]) => id === token);
    const { parent, alternatives } = node;
    if (!known) await view.ask("add", { node: { parent, token, text, probability, uniform: null, alternatives } });
    const branch = known ?? tree.child(parent, token);
    if (!branch) return false;
    const left = settings.max_new_tokens - branch.depth - 1;
    return left > 0 ? write(branch.number, { max_new_tokens: left }) : view.ask("next", { node: branch.number });
  }

  /** The current text again, with the same random numbers at another temperature. */
  async function replay(temperature) {
    const current = () => tree.path(data.at).map(({ token, text }) => [token, text]);
    if (!current().length && !(await write(ROOT))) return false;
    if (stopped) return true;
    const before = current();
    if (!(await write(ROOT, { temperature, max_new_tokens: before.length }))) return false;
    const temperatures = { temperature_before: settings.temperature, temperature_after: temperature };
    const replayed = { ...temperatures, before, after: current() };
    return view.ask("keep", { parts: { replayed } });
  }

  /** The prompt continued by greedy decoding, by sampling and by beam search. */
  async function compare() {
    const compared = [];
    for (const [name, options] of waysOfDecoding(settings)) {
      const found = await view.ask("decode", { options });
      if (!found) return false;
      compared.push([name, found.text]);
      await view.ask("keep", { parts: { compared: [...compared] } });
      if (stopped) break;
    }
    return true;
  }

  return {
    acting: () => acting,
    generate: action(() => write(ROOT)),
    step: action(() => write(data.at, { max_new_tokens: 1 })),
    fork: action(fork),
    replay: action(replay),
    compare: action(compare),
    /** Make a token that exists already the current one. */
    visit(number) {
      if (!lab.busy()) view.ask("next", { node: number });
    },
    stop() {
      stopped = true;
      if (data.running) view.cancel(data.running);
    },
    running() {
      if (acting && stopped && data.running) view.cancel(data.running); // Stop was pressed before it began
    },
  };
}
