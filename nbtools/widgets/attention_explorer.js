const DIRECTIONS = [
  ["outgoing", "tokens this one attends to"],
  ["incoming", "tokens that attend to this one"],
];

/** What the parts of the explorer share: the data, the chosen tokens and the chosen cell. */
function explorerState(view, direction) {
  const { data } = view;
  const explorer = {
    view,
    data,
    weight: () => 0, // of the head shown, by row and column
    selected: new Set(), // tokens that were pressed
    hovered: null,
    cell: { row: 0, column: 0 }, // under the pointer, or moved to by keys
    exact: null, // exact weights of one row or column
    count: () => data.tokens.length,
    heads: () => (data.mode === "rollout" ? 1 : data.shape[1]),
    nameOf: (index) => visible(data.tokens[index] ?? ""),
    outgoing: () => direction.select.value === "outgoing",
  };
  explorer.focus = () => {
    if (explorer.selected.size) return [...explorer.selected];
    return explorer.hovered === null ? [] : [explorer.hovered];
  };
  explorer.weightBetween = (one, other) =>
    explorer.outgoing() ? explorer.weight(one, other) : explorer.weight(other, one);
  explorer.exactWeights = (index) => {
    const { exact } = explorer;
    const same = exact && ["layer", "head", "mode"].every((name) => exact[name] === data[name]);
    return same && exact.index === index && exact.column === !explorer.outgoing() ? exact.values : null;
  };
  return explorer;
}

/** The weights of one token as a table that can be opened. */
function weightList(explorer) {
  return behind("The weights as a table", () => {
    const index = explorer.focus()[0] ?? explorer.cell.row;
    const exact = explorer.exactWeights(index);
    const rows = [];
    for (let other = 0; other < explorer.count(); other += 1) {
      const weight = exact ? exact[other] : explorer.weightBetween(index, other);
      if (weight > 0) rows.push([other, explorer.nameOf(other), exact ? weight.toPrecision(7) : weight.toFixed(3)]);
    }
    const token = `${explorer.nameOf(index)} (token ${index})`;
    const caption = explorer.outgoing() ? `Tokens that ${token} attends to` : `Tokens that attend to ${token}`;
    return table(`${caption}, ${exact ? "exact weights" : "weights to 8 bits"}`, ["index", "token", "weight"], rows);
  });
}

/** The buttons of what is computed on demand, each with its result. */
function analyses(explorer) {
  const { view } = explorer;
  const words = make("input", {
    "aria-label": "next words to watch, separated by spaces; empty: the likeliest",
    placeholder: "next words (empty: the likeliest)",
  });
  const position = () => [...explorer.selected][0] ?? explorer.count() - 1;
  return {
    words,
    score: button("Score the heads", () => view.work("scoring …", "score")),
    ablate: button("Ablate each head", () =>
      view.work("ablating each head in turn …", "ablate", { words: words.value }),
    ),
    lens: button("Apply to every layer", () => view.work("computing …", "lens", { position: position() }), {
      title: "What each layer predicts after the first pressed token, or after the last token",
    }),
  };
}

function render({ model, el }) {
  const view = frame(model, el, `Attention explorer: ${model.get("shown").title}`);
  const { data, root } = view;
  const modes = data.modes.map((mode) => [mode, mode]);
  const mode = choice("show weights", modes, data.mode, () => explorer.go(data.layer, data.head));
  const direction = choice("colour", DIRECTIONS, "outgoing", () => refocus());
  const explorer = explorerState(view, direction);
  const list = weightList(explorer);
  const grid = headGrid(explorer);
  const matrix = headMatrix(explorer);
  const tokens = tokenRow(explorer, refocus);
  const arcs = attentionArcs(explorer);
  const [arithmetic, scores, ablation, lens] = [weightTable, scoreTable, ablationTables, lensTable].map((panel) =>
    panel(explorer),
  );
  const buttons = analyses(explorer);
  const title = make("div", { class: "nbt-faint" });
  const text = textBox("Text");
  const run = button("Use this text", () => view.work("computing …", "text", { text: text.box.value }));

  root.append(
    title,
    text.label,
    text.box,
    make("div", { class: "nbt-row" }, run, mode.row, direction.row),
    tokens.element,
    make(
      "div",
      { class: "nbt-columns" },
      make(
        "div",
        {},
        make("h4", { text: "All heads" }),
        grid.element,
        make("div", { class: "nbt-row" }, buttons.score),
        scores.element,
      ),
      make("div", {}, ...matrix.elements, arithmetic.element),
    ),
    make("h4", { text: "Arcs" }),
    arcs.element,
    list.details,
    matrixFiles(explorer),
    make("h4", { text: "Head ablation" }),
    make("div", { class: "nbt-row" }, buttons.ablate, buttons.words),
    ablation.element,
    make("h4", { text: "Logit lens" }),
    make("div", { class: "nbt-row" }, buttons.lens),
    lens.element,
  );

  explorer.go = (layer, head) => {
    if (layer === data.layer && mode.select.value === data.mode) {
      view.merge({ head }); // its weights are here already
      view.ask("head", { head });
    } else {
      view.ask("layer", { layer, head, mode: mode.select.value });
    }
  };
  explorer.askRow = async (index) => {
    const parts = await view.ask("row", { index, column: !explorer.outgoing() }, { quiet: true });
    if (!parts) return;
    explorer.exact = { ...parts.row, values: numbers(parts.exact, Float32Array) };
    matrix.describe();
    list.refresh();
  };
  explorer.showTokens = () => {
    tokens.show();
    arcs.show();
  };
  function refocus() {
    explorer.showTokens();
    list.refresh();
    const focus = explorer.focus();
    if (focus.length === 1) explorer.askRow(focus[0]);
  }
  function showText() {
    title.textContent = data.title;
    text.box.value = data.text;
    explorer.selected.clear();
    explorer.hovered = null;
    explorer.cell = { row: 0, column: 0 };
    explorer.exact = null;
    tokens.fill();
    grid.show();
  }
  function showHead() {
    mode.select.value = data.mode;
    matrix.show();
    grid.mark();
    explorer.showTokens();
    list.refresh();
  }
  function showScores() {
    scores.show();
    grid.mark();
  }
  function repaint() {
    grid.show();
    showHead();
  }
  const drawers = {
    tokens: showText,
    layer: showHead,
    head: showHead,
    triangles: showHead,
    cell: arithmetic.show,
    ablation: ablation.show,
    lens: lens.show,
    scores: showScores,
  };
  view.start(drawers, repaint);
  return view.end;
}

export default { render };
