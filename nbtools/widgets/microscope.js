const SINGLE = "The prompt is a single token, which attends only to itself.";

/** One bar per token: to the right for a gain of probability, to the left for a loss. */
function changeBars(data) {
  const bars = make("div");
  function bar([text, before, after, change], largest) {
    const filled = make("span", { class: change > 0 ? "nbt-up" : "nbt-down" });
    filled.style.width = `${(50 * Math.abs(change)) / largest}%`;
    filled.style[change > 0 ? "left" : "right"] = "50%";
    return make(
      "div",
      { class: "nbt-change" },
      make("span", { class: "nbt-mono nbt-label", text, title: text }),
      make("span", { class: "nbt-both" }, filled),
      make("span", { class: "nbt-value nbt-wide", text: `${percent(before, 2)} → ${percent(after, 2)}` }),
    );
  }
  const details = behind("The changes as a table", () => {
    const cells = ([text, before, after, change]) => [text, percent(before, 2), percent(after, 2), change.toFixed(3)];
    const rows = data.changes.map(cells);
    return table("Change of the next token's probability", ["token", "before", "after", "change in nats"], rows);
  });
  function show() {
    const largest = Math.max(1e-6, ...data.changes.map(([, , , change]) => Math.abs(change)));
    const none = make("p", { class: "nbt-faint", text: "No next token became more or less likely." });
    bars.replaceChildren(...(data.changes.length ? data.changes.map((row) => bar(row, largest)) : [none]));
    details.refresh();
  }
  return { elements: [bars, details.details], show };
}

/** All heads, coloured by how far their attention moved. */
function shiftGrid(view) {
  const { data } = view;
  const press = (layer, head) => view.ask("head", { layer, head });
  const buttons = headButtons("Change of each head's attention", "nbt-moved", 36, press);
  function show() {
    const largest = Math.max(1e-6, ...data.shift.flat());
    buttons.fill(data.shift.length, data.shift[0].length, (one, layer, head) => {
      const bits = data.shift[layer][head];
      one.title = `${bits.toFixed(3)} bits`;
      one.setAttribute("aria-label", `layer ${layer}, head ${head}: ${one.title}`);
      one.style.setProperty("--heat", (bits / largest).toFixed(3));
    });
  }
  const mark = () => buttons.mark((layer, head) => layer === data.layer && head === data.head);
  return { element: buttons.element, show, mark };
}

/** One head before and after: both matrices, and the weights that changed most. */
function headPair(data) {
  function figure(name, at) {
    const label = `layer ${data.layer}, head ${data.head}, ${name}`;
    const canvas = make("canvas", { class: "nbt-head", role: "img", "aria-label": label });
    paint(canvas, data.tokens.length, at);
    return make("figure", {}, canvas, make("figcaption", { text: name }));
  }
  function largestChanges(before, after) {
    const changes = [];
    for (let row = 1; row < data.tokens.length; row += 1) {
      for (let column = 0; column <= row; column += 1) {
        changes.push([row, column, after(row, column) - before(row, column)]);
      }
    }
    return changes.sort((one, other) => Math.abs(other[2]) - Math.abs(one[2])).slice(0, 5);
  }
  return panel(() => {
    const count = data.tokens.length;
    const bytes = numbers(data.triangles, Uint8Array);
    const [before, after] = [0, 1].map((index) => triangle(bytes, 2, count, index));
    const nameOf = (index) => `${visible(data.tokens[index])} (${index})`;
    const rows = largestChanges(before, after).map(([row, column, change]) => [
      nameOf(row),
      nameOf(column),
      `${change > 0 ? "+" : ""}${change.toFixed(2)}`,
    ]);
    const bits = data.shift[data.layer][data.head].toFixed(3);
    return [
      make("p", { text: `Layer ${data.layer}, head ${data.head}: divergence ${bits} bits` }),
      make("div", { class: "nbt-row" }, figure("before", before), figure("after", after)),
      rows.length
        ? table("The weights that changed most", ["query", "key", "change"], rows)
        : make("p", { text: SINGLE }),
    ];
  });
}

/** The two texts, with the first different token marked. */
function textPair(data) {
  function line(label, tokens, marked) {
    const [name, prompt] = [label, data.prompt].map((text) => make("span", { class: "nbt-faint", text }));
    return make("div", { class: "nbt-line" }, name, prompt, ...markedTokens(tokens, marked));
  }
  return panel(() => {
    const { before, after, decoding } = data.texts;
    const first = parting(before, after);
    const difference = first < 0 ? "The texts are the same." : `The texts differ from token ${first + 1} on.`;
    return [
      make("p", { class: "nbt-faint", text: `${decoding}, seed ${data.seed}. ${difference}` }),
      line("before", before, first),
      line("after", after, first),
    ];
  });
}

function render({ model, el }) {
  const view = frame(model, el, `Microscope: ${model.get("shown").title}`);
  const { data, root } = view;
  const prompt = textBox("Prompt");
  const seed = numberBox("seed", { min: 0, max: 2 ** 31 - 1, value: data.seed }, compare);
  function compare() {
    view.work("computing …", "compare", { prompt: prompt.box.value, seed: Number(seed.input.value) });
  }
  const bars = changeBars(data);
  const grid = shiftGrid(view);
  const heads = headPair(data);
  const texts = textPair(data);
  root.append(
    make("div", { class: "nbt-faint", text: data.title }),
    prompt.label,
    prompt.box,
    make("div", { class: "nbt-row" }, button("Compare", compare, { class: "nbt-button nbt-main" }), seed.row),
    make("h4", { text: "Two texts from the same random numbers" }),
    texts.element,
    make(
      "div",
      { class: "nbt-columns" },
      make("div", {}, make("h4", { text: "Next tokens that gained or lost most" }), ...bars.elements),
      make("div", {}, make("h4", { text: "Heads whose attention changed" }), grid.element, heads.element),
    ),
  );
  const drawers = {
    prompt: () => {
      prompt.box.value = data.prompt;
      seed.set(data.seed);
    },
    changes: bars.show,
    shift: grid.show,
    triangles: () => {
      grid.mark();
      heads.show();
    },
    texts: texts.show,
  };
  view.start(drawers, heads.show);
  return view.end;
}

export default { render };
