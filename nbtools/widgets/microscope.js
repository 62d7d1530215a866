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
      make("span", { class: "nbt-mono nbt-name", text, title: text }),
      make("span", { class: "nbt-both" }, filled),
      make("span", { class: "nbt-value nbt-wide", text: `${percent(before, 2)} → ${percent(after, 2)}` }),
    );
  }
  const details = behind("The changes as a table", () => {
    const rows = data.changes.map(([text, before, after, change]) => [
      text,
      percent(before, 2),
      percent(after, 2),
      change.toFixed(3),
    ]);
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
  const label = "Change of each head's attention; arrow keys move";
  const element = make("div", { class: "nbt-grid", role: "group", "aria-label": label });
  let buttons = [];
  function show() {
    const [layers, heads] = [data.shift.length, data.shift[0].length];
    const largest = Math.max(1e-6, ...data.shift.flat());
    const side = Math.max(18, Math.min(36, Math.floor(380 / heads)));
    buttons = fillHeadGrid(element, layers, heads, side, (layer, head) => {
      const bits = data.shift[layer][head];
      const one = make("button", {
        type: "button",
        class: "nbt-moved",
        "aria-label": `layer ${layer}, head ${head}: ${bits.toFixed(3)} bits`,
        title: `${bits.toFixed(3)} bits`,
        "data-layer": layer,
        "data-head": head,
        onclick: () => view.ask("head", { layer, head }),
      });
      one.style.setProperty("--heat", (bits / largest).toFixed(3));
      return one;
    });
  }
  function mark() {
    for (const one of buttons) {
      const chosen = Number(one.dataset.layer) === data.layer && Number(one.dataset.head) === data.head;
      one.setAttribute("aria-pressed", String(chosen));
    }
  }
  return { element, show, mark };
}

/** One head before and after: both matrices, and the weights that changed most. */
function headPair(data) {
  const element = make("div");
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
  function show() {
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
    element.replaceChildren(
      make("p", { text: `Layer ${data.layer}, head ${data.head}: divergence ${bits} bits` }),
      make("div", { class: "nbt-row" }, figure("before", before), figure("after", after)),
      rows.length
        ? table("The weights that changed most", ["query", "key", "change"], rows)
        : make("p", { text: SINGLE }),
    );
  }
  return { element, show };
}

/** The two texts, with the first different token marked. */
function textPair(data) {
  const element = make("div");
  function line(label, tokens, parting) {
    const spans = tokens.map((text, index) => make(index === parting ? "mark" : "span", { text }));
    const [name, prompt] = [label, data.prompt].map((text) => make("span", { class: "nbt-faint", text }));
    return make("div", { class: "nbt-line" }, name, prompt, ...spans);
  }
  function show() {
    const { before, after, parting, decoding } = data.texts;
    const difference = parting < 0 ? "The texts are the same." : `The texts differ from token ${parting + 1} on.`;
    element.replaceChildren(
      make("p", { class: "nbt-faint", text: `${decoding}, seed ${data.seed}. ${difference}` }),
      line("before", before, parting),
      line("after", after, parting),
    );
  }
  return { element, show };
}

function render({ model, el }) {
  const view = frame(model, el, `Microscope: ${model.get("shown").title}`);
  const { data, root } = view;
  const id = unique("prompt");
  const prompt = make("textarea", { id, rows: 2 });
  const seed = numberBox("seed", { min: 0, max: 2 ** 31 - 1, value: data.seed }, compare);
  async function compare() {
    view.say("computing …");
    await view.ask("compare", { prompt: prompt.value, seed: Number(seed.input.value) });
    view.say("");
  }
  const bars = changeBars(data);
  const grid = shiftGrid(view);
  const heads = headPair(data);
  const texts = textPair(data);
  root.append(
    make("div", { class: "nbt-faint", text: data.title }),
    make("label", { for: id, text: "Prompt" }),
    prompt,
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
      prompt.value = data.prompt;
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
