function render({ model, el }) {
  const { root, ask, on, end } = frame(model, el, "Token inspector");
  const title = make("h4");
  const facts = make("p", { class: "nbt-faint" });
  const body = make("tbody");
  const box = numberBox("block", { min: 0, max: model.get("blocks") - 1, value: model.get("block") }, (block) => ask("block", { block }));
  const step = (by) => () => {
    const next = model.get("block") + by;
    if (next >= 0 && next < model.get("blocks")) ask("block", { block: next });
  };
  const head = make("tr", {}, ...model.get("head").map((text) => make("th", { scope: "col", text })));
  const grid = make("table", { class: "nbt-table nbt-inspected" }, make("caption", { text: "Point at a row: what it may attend to is marked. Bars are shares of the block's loss." }), make("thead", {}, head), body);
  root.append(title, make("div", { class: "nbt-row" }, button("Previous block", step(-1)), button("Next block", step(1)), box.row), facts,
    make("div", { class: "nbt-scroll", tabindex: 0, role: "region", "aria-label": "Tokens of the block" }, grid));

  function show() {
    const rows = model.get("rows");
    title.textContent = model.get("title");
    box.set(model.get("block"));
    facts.textContent = `Mean loss of the block: ${model.get("loss").toFixed(3)} nats a token, perplexity ${Math.exp(model.get("loss")).toFixed(1)}.`;
    const most = Math.max(...rows.map((row) => row[7] ?? 0));
    const lines = rows.map((row) => {
      const share = row[7];
      const bar = make("span", { class: "nbt-share" });
      bar.style.width = `${share === null ? 0 : (100 * share) / most}%`;
      const cells = row.slice(0, 7).map((cell, at) => make("td", { text: String(cell), class: at === 1 || at === 3 ? "nbt-mono" : "" }));
      return make("tr", { "data-place": row[0], class: row[4] === 0 ? "nbt-begin" : "" }, ...cells,
        make("td", {}, make("span", { class: "nbt-value", text: share === null ? "none" : percent(share, 2) }), bar));
    });
    lines.forEach((line, place) => {
      const mark = (shown) => () => {
        for (let seen = place - rows[place][4]; seen <= place; seen += 1) lines[seen].classList.toggle("nbt-seen", shown);
      };
      line.addEventListener("mouseenter", mark(true));
      line.addEventListener("mouseleave", mark(false));
    });
    body.replaceChildren(...lines);
  }
  on("change:rows", show);
  show();
  return end;
}

export default { render };
