const POSITION = 4; // columns of a row
const SHARE = 7;
const MONOSPACED = [1, 3];

/** One row of the table; its last cell is a bar. */
function tokenRowOf(row, largest) {
  const share = row[SHARE];
  const bar = make("span", { class: "nbt-share" });
  bar.style.width = `${share === null ? 0 : (100 * share) / largest}%`;
  const cells = row.slice(0, SHARE).map((cell, index) => {
    return make("td", { text: String(cell), class: MONOSPACED.includes(index) ? "nbt-mono" : "" });
  });
  const value = make("span", { class: "nbt-value", text: share === null ? "none" : percent(share, 2) });
  const attributes = { "data-index": row[0], class: row[POSITION] === 0 ? "nbt-begin" : "" };
  return make("tr", attributes, ...cells, make("td", {}, value, bar));
}

/** Mark the tokens that a row attends to while it is pointed at. */
function markAttended(lines, rows) {
  lines.forEach((line, index) => {
    const attended = lines.slice(index - rows[index][POSITION], index + 1);
    const mark = (shown) => () => attended.forEach((one) => one.classList.toggle("nbt-attended", shown));
    line.addEventListener("mouseenter", mark(true));
    line.addEventListener("mouseleave", mark(false));
  });
}

function render({ model, el }) {
  const view = frame(model, el, "Token inspector");
  const { data, root } = view;
  const title = make("h4");
  const facts = make("p", { class: "nbt-faint" });
  const body = make("tbody");
  const go = (block) => {
    if (block >= 0 && block < data.blocks) view.ask("block", { block });
  };
  const box = numberBox("block", { min: 0, max: data.blocks - 1, value: data.block }, go);
  const previous = button("Previous block", () => go(data.block - 1));
  const next = button("Next block", () => go(data.block + 1));
  const caption = "Point at a row to mark the tokens that it attends to. Bars are shares of the block's loss.";
  const grid = make(
    "table",
    { class: "nbt-table nbt-inspected" },
    make("caption", { text: caption }),
    make("thead", {}, make("tr", {}, ...data.columns.map((text) => make("th", { scope: "col", text })))),
    body,
  );
  const region = { class: "nbt-scroll", tabindex: 0, role: "region", "aria-label": "Tokens of the block" };
  root.append(title, make("div", { class: "nbt-row" }, previous, next, box.row), facts, make("div", region, grid));

  function show() {
    const { rows, block, blocks, loss } = data;
    title.textContent = data.title;
    box.set(block);
    previous.disabled = block === 0;
    next.disabled = block === blocks - 1;
    const perplexity = Math.exp(loss).toFixed(1);
    facts.textContent = `Mean loss of the block: ${loss.toFixed(3)} nats per token, perplexity ${perplexity}.`;
    const largest = Math.max(...rows.map((row) => row[SHARE] ?? 0));
    const lines = rows.map((row) => tokenRowOf(row, largest));
    markAttended(lines, rows);
    body.replaceChildren(...lines);
  }
  view.start({ rows: show });
  return view.end;
}

export default { render };
