function render({ model, el }) {
  const { root, say, ask, on, end } = frame(model, el, `Microscope: ${model.get("title")}`);
  const dark = document.body.dataset.jpThemeLight === "false";
  const id = unique("prompt");
  const prompt = make("textarea", { id, rows: 2 });
  const seed = numberBox("seed", { min: 0, max: 2 ** 31 - 1, value: model.get("seed") }, () => look());
  const look = () => { say("looking …"); ask("look", { prompt: prompt.value, seed: Number(seed.input.value) }); };
  const bars = make("div");
  const grid = make("div", { class: "nbt-grid", role: "group", "aria-label": "How far each head's attention moved; arrow keys move" });
  const heads = make("div");
  const texts = make("div");
  const numbersBehind = behind("The changes as a table", () => table("Change of the next token's probability", ["token", "before", "after", "change in nats"],
    model.get("likelier").map(([text, before, after, change]) => [text, percent(before, 2), percent(after, 2), change.toFixed(3)])));
  root.append(make("div", { class: "nbt-faint", text: model.get("title") }), make("label", { for: id, text: "Prompt" }), prompt,
    make("div", { class: "nbt-row" }, button("Look", look, { class: "nbt-button nbt-main" }), seed.row),
    make("h4", { text: "Same dice, two models" }), texts,
    make("div", { class: "nbt-columns" }, make("div", {}, make("h4", { text: "Next tokens that became likelier, and less likely" }), bars, numbersBehind.details),
      make("div", {}, make("h4", { text: "Where attention moved" }), grid, heads)));

  function showBars() {
    const rows = model.get("likelier");
    const reach = Math.max(1e-6, ...rows.map((row) => Math.abs(row[3])));
    bars.replaceChildren(...rows.map(([text, before, after, change]) => {
      const bar = make("span", { class: change > 0 ? "nbt-up" : "nbt-down" });
      bar.style.width = `${(50 * Math.abs(change)) / reach}%`;
      bar.style[change > 0 ? "left" : "right"] = "50%";
      return make("div", { class: "nbt-change" }, make("span", { class: "nbt-mono nbt-name", text, title: text }), make("span", { class: "nbt-both" }, bar),
        make("span", { class: "nbt-value nbt-wide", text: `${percent(before)} → ${percent(after)}` }));
    }));
    numbersBehind.refresh();
  }
  function showGrid() {
    const shift = model.get("shift");
    const reach = Math.max(1e-6, ...shift.flat());
    const across = shift[0].length;
    grid.style.gridTemplateColumns = `1.6em repeat(${across}, ${Math.max(18, Math.min(36, Math.floor(380 / across)))}px)`;
    const cells = [make("span"), ...shift[0].map((_, head) => make("span", { text: head, style: "text-align:center" }))];
    const buttons = [];
    shift.forEach((row, layer) => {
      cells.push(make("span", { text: layer }));
      row.forEach((bits, head) => {
        const one = make("button", { type: "button", class: "nbt-moved", "aria-label": `layer ${layer}, head ${head}: ${bits.toFixed(3)} bits`, title: `${bits.toFixed(3)} bits`, "data-layer": layer, "data-head": head, onclick: () => ask("head", { layer, head }) });
        one.style.setProperty("--heat", (bits / reach).toFixed(3));
        buttons.push(one);
        cells.push(one);
      });
    });
    grid.replaceChildren(...cells);
    roving(buttons, across);
    showHeads();
  }
  function showHeads() {
    const { layer, head } = model.get("pair");
    const count = model.get("tokens").length;
    const bytes = numbers(model.get("triangles"), Uint8Array);
    if (bytes.length !== count * (count + 1)) return; // two triangles; else the other half of the change is on its way
    grid.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(Number(one.dataset.layer) === layer && Number(one.dataset.head) === head)));
    const two = ["before", "after"].map((name, at) => {
      const canvas = make("canvas", { class: "nbt-head", role: "img", "aria-label": `layer ${layer}, head ${head}, ${name}` });
      paint(canvas, count, triangle(bytes, 2, count, at), dark);
      return make("figure", {}, canvas, make("figcaption", { text: name }));
    });
    const [before, after] = [0, 1].map((at) => triangle(bytes, 2, count, at));
    const moves = [];
    for (let row = 1; row < count; row += 1) for (let column = 0; column <= row; column += 1) moves.push([row, column, after(row, column) - before(row, column)]);
    moves.sort((one, other) => Math.abs(other[2]) - Math.abs(one[2]));
    const name = (at) => `${visible(model.get("tokens")[at])} (${at})`;
    heads.replaceChildren(make("p", { text: `Layer ${layer}, head ${head}: ${model.get("shift")[layer][head].toFixed(3)} bits apart` }), make("div", { class: "nbt-row" }, ...two),
      table("The weights that moved most", ["reads", "read", "change"], moves.slice(0, 5).map(([row, column, change]) => [name(row), name(column), `${change > 0 ? "+" : ""}${change.toFixed(2)}`])));
  }
  function showTexts() {
    const { before, after, parting, decoding } = model.get("texts");
    const line = (label, tokens) => make("div", { class: "nbt-line" }, make("span", { class: "nbt-faint", text: label }), make("span", { class: "nbt-faint", text: model.get("prompt") }),
      ...tokens.map((text, place) => make(place === parting ? "mark" : "span", { text })));
    texts.replaceChildren(make("p", { class: "nbt-faint", text: `${decoding}, seed ${model.get("seed")}. ${parting < 0 ? "The texts are the same." : `They part at token ${parting + 1}.`}` }), line("before", before), line("after", after));
    say("");
  }
  on("change:likelier", showBars);
  on("change:shift", showGrid);
  on("change:triangles", showHeads);
  on("change:texts", showTexts);
  on("change:prompt", () => { prompt.value = model.get("prompt"); });
  prompt.value = model.get("prompt");
  showBars();
  showGrid();
  showTexts();
  return end;
}

export default { render };
