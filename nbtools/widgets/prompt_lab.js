/** Two texts from the same random numbers at two temperatures, with the first different token marked. */
function replayPanel(data) {
  function line(label, tokens, marked) {
    const texts = tokens.map(([, text]) => text);
    const text = make("span", { class: "nbt-mono" }, ...markedTokens(texts, marked));
    return make("div", { class: "nbt-replay" }, make("span", { class: "nbt-faint", text: label }), text);
  }
  return panel(() => {
    const { before, after, temperature_before, temperature_after } = data.replayed;
    if (!before) return [];
    const [one, other] = [before, after].map((tokens) => tokens.map(([id]) => id));
    const first = parting(one, other);
    const sentence =
      first < 0
        ? "Each random number selects the same token at both temperatures."
        : `The same random numbers; the texts differ from token ${first + 1} on.`;
    return [
      make("p", { text: sentence }),
      line(`temperature ${temperature_before}`, before, first),
      line(`temperature ${temperature_after}`, after, first),
    ];
  });
}

/** The prompt's text box, which follows the trait `prompt`. */
function promptBox(view, model, edited) {
  const prompt = textBox("Prompt", { rows: 3, placeholder: "Write the beginning of a text", onchange: edited });
  const follow = () => {
    if (prompt.box.value !== model.get("prompt")) prompt.box.value = model.get("prompt");
  };
  follow();
  view.on("change:prompt", follow);
  return prompt;
}

/** The lab's buttons. `refresh` enables those that can be pressed. */
function labButtons(lab) {
  const { view, actions } = lab;
  const { data } = view;
  const temperature = numberBox("another temperature", { min: 0, max: 2, step: 0.05, value: 1.5 }).input;
  temperature.setAttribute("aria-label", "another temperature"); // it stands after its button, without a label
  const buttons = {
    generate: button("Generate", () => actions.generate(), { class: "nbt-button nbt-main" }),
    stop: button("Stop", () => actions.stop()),
    step: button("One token", () => actions.step()),
    back: button("Back", () => actions.visit(lab.tree.parentOf(data.at)), { title: "Remove the last token" }),
    replay: button("Same random numbers at temperature", () =>
      actions.replay(Number(temperature.value)),
    ),
    compare: button("Compare greedy, sampling, beam", () => actions.compare()),
    python: button("Copy as Python", () => copy(lab.repeatedBy(generationCode), view.say)),
    command: button("Copy as papermill command", () => copy(lab.repeatedBy(generationCommand), view.say)),
  };
  function refresh() {
    const busy = lab.busy();
    for (const name of ["generate", "step", "replay", "compare"]) buttons[name].disabled = busy;
    buttons.stop.disabled = !busy;
    buttons.back.disabled = busy || !lab.tree.nodes.has(data.at);
  }
  return { ...buttons, temperature, refresh };
}

function render({ model, el }) {
  const view = frame(model, el, `Prompt lab: ${model.get("shown").title}`);
  const { data, root } = view;
  const prompt = promptBox(view, model, () => view.ask("change", { prompt: prompt.box.value }));
  const controls = samplingControls(view, model, {
    moved: (name) => (name === "repetition_penalty" ? distribution.showAnew() : distribution.show()),
    save: (settings) => view.ask("change", { settings }),
  });
  const distribution = distributionPanel(view, controls);
  const lab = { view, tree: textTree(data), shown: () => ({ prompt: prompt.box.value, settings: controls.flush() }) };
  lab.actions = labActions(lab, () => buttons.refresh());
  lab.busy = () => Boolean(data.running) || lab.actions.acting();
  lab.repeatedBy = (write) => write(data.model, prompt.box.value, controls.settings());
  const buttons = labButtons(lab);
  const alternatives = alternativesPanel(lab);
  const text = textPanel(lab, alternatives);
  const branches = branchPanel(lab);
  const replay = replayPanel(data);
  const caption = "The same prompt, decoded in three ways";
  const compared = panel(() => data.compared.length && [table(caption, ["decoding", "text"], data.compared)]);

  root.append(
    make("div", { class: "nbt-faint", text: data.title }),
    prompt.label,
    prompt.box,
    make(
      "div",
      { class: "nbt-columns" },
      make("div", {}, make("h4", { text: "Sampling parameters" }), controls.element),
      make("div", {}, make("h4", { text: "Next token" }), distribution.bars, distribution.facts),
    ),
    make("div", { class: "nbt-row" }, buttons.generate, buttons.stop, buttons.step, buttons.back),
    text.element,
    alternatives.element,
    make("h4", { text: "How the next token is drawn" }),
    ...distribution.ruler,
    distribution.table,
    make("div", { class: "nbt-row" }, buttons.replay, buttons.temperature),
    replay.element,
    make("div", { class: "nbt-row" }, buttons.compare, buttons.python, buttons.command),
    compared.element,
    branches.element,
  );

  function showTree() {
    lab.tree.fill();
    showPath();
  }
  function addNode() {
    if (data.node) lab.tree.add(data.node);
  }
  function drawPath() {
    text.show();
    branches.show();
    buttons.refresh();
  }
  let drawing = 0;
  /** While a text is written, once a frame however fast its tokens come; otherwise at once. */
  function showPath() {
    cancelAnimationFrame(drawing);
    drawing = 0;
    if (!data.running) drawPath();
    else drawing = requestAnimationFrame(drawPath);
  }
  function showRunning() {
    buttons.refresh();
    lab.actions.running();
    if (data.running) view.say("writing …");
    else if (!lab.actions.acting()) view.say("");
  }
  view.start({
    running: showRunning,
    nodes: showTree,
    node: addNode,
    at: showPath,
    logits: distribution.showAnew,
    replayed: replay.show,
    compared: compared.show,
  });
  return view.end;
}

export { ranked, warp, sampleInverseCdf };
export default { render };
