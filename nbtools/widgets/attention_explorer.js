const SIDE = 420; // of the matrix, in pixels
const LINE = 15; // of a token between the arcs

function render({ model, el }) {
  const { root, say, ask, on, end } = frame(model, el, `Attention explorer: ${model.get("title")}`);
  const dark = document.body.dataset.jpThemeLight === "false";
  let weight = () => 0;
  let selected = new Set(); // locked tokens
  let hovered = null;
  let place = { row: 0, column: 0 }; // the cell under pointer or keyboard
  const count = () => model.get("tokens").length;
  const heads = () => (model.get("mode") === "rollout" ? 1 : model.get("shape")[1]);
  const said = (index) => `${visible(model.get("tokens")[index] ?? "")}`;

  const title = make("div", { class: "nbt-faint" });
  const textId = unique("text");
  const text = make("textarea", { id: textId, rows: 2 });
  const read = button("Read", () => { say("reading …"); ask("read", { text: text.value }); });
  const mode = choice("show weights", model.get("modes").map((one) => [one, one]), model.get("mode"), () => go(model.get("layer"), model.get("head")));
  const direction = choice("colour", [["reads", "what a token reads"], ["read", "what reads a token"]], "reads", () => { showTokens(); showArcs(); });
  const tokens = make("div", { class: "nbt-tokens", role: "group", "aria-label": "Tokens: point to preview, press to lock; several are summed" });
  const grid = make("div", { class: "nbt-grid", role: "group", "aria-label": "Heads, one row a layer; arrow keys move" });
  const named = make("h4");
  const matrix = make("canvas", { class: "nbt-matrix", tabindex: 0, role: "img" });
  const readout = make("div", { role: "status", "aria-live": "polite" });
  const arcs = make("canvas", { role: "img", "aria-label": "Arcs from reading tokens on the left to the tokens that they read on the right; the table holds the same" });
  const arithmetic = make("div");
  const words = make("input", { "aria-label": "next words to watch, with spaces between; empty: the likeliest", placeholder: "next words (empty: the likeliest)" });
  const board = make("div");
  const lens = make("div");
  const scored = make("div");
  const weights = behind("The weights as a table", () => {
    const rows = [];
    const index = focus()[0] ?? place.row;
    const exact = exactRow(index);
    for (let other = 0; other < count(); other += 1) {
      const share = exact ? exact[other] : reads() ? weight(index, other) : weight(other, index);
      if (share > 0) rows.push([other, said(other), exact ? share.toPrecision(7) : share.toFixed(3)]);
    }
    return table(`${reads() ? "What" : "What reads"} ${said(index)} (token ${index})${reads() ? " reads" : ""}${exact ? ", exactly" : ", to 8 bits"}`, ["number", "token", "weight"], rows);
  });
  const score = button("Find heads by what they do", () => { say("scoring …"); ask("score"); });
  const silence = button("Silence each head", () => { say("silencing each head in turn …"); ask("silence", { words: words.value }); });
  const ask_lens = button("Ask every layer", () => ask("lens", { place: [...selected][0] ?? count() - 1 }), { title: "What each layer would say after the locked token, or after the last one" });
  root.append(title, make("label", { for: textId, text: "Text" }), text,
    make("div", { class: "nbt-row" }, read, mode.row, direction.row), tokens,
    make("div", { class: "nbt-columns" },
      make("div", {}, make("h4", { text: "All heads" }), grid, make("div", { class: "nbt-row" }, score), scored),
      make("div", {}, named, matrix, readout, arithmetic)),
    make("h4", { text: "Arcs" }), make("div", { class: "nbt-arcs", tabindex: 0, role: "region", "aria-label": "Arcs" }, arcs), weights.details,
    make("div", { class: "nbt-row" }, button("PNG", png), button("SVG", svg), button("CSV of exact numbers", () => ask("export")), make("span", { class: "nbt-faint", text: "of the head in sight" })),
    make("h4", { text: "Knock-out board" }), make("div", { class: "nbt-row" }, silence, words), board,
    make("h4", { text: "Logit lens" }), make("div", { class: "nbt-row" }, ask_lens), lens);

  const reads = () => direction.select.value === "reads";
  const focus = () => (selected.size ? [...selected] : hovered === null ? [] : [hovered]);

  function go(layer, head) {
    const mode_ = mode.select.value;
    if (layer === model.get("layer") && mode_ === model.get("mode")) {
      put(model, "head", head);
      return;
    }
    ask("layer", { layer, head, mode: mode_ });
  }

  // -- all heads
  let thumbs = [];
  function showGrid() {
    const [layers, across] = model.get("shape");
    const size = Math.min(count(), 14);
    const bytes = numbers(model.get("thumbs"), Uint8Array);
    const side = Math.max(18, Math.min(44, Math.floor(380 / across)));
    grid.style.gridTemplateColumns = `1.6em repeat(${across}, ${side}px)`;
    thumbs = [];
    const cells = [make("span"), ...Array.from({ length: across }, (_, head) => make("span", { text: head, style: "text-align:center" }))];
    for (let layer = 0; layer < layers; layer += 1) {
      cells.push(make("span", { text: layer }));
      for (let head = 0; head < across; head += 1) {
        const canvas = make("canvas");
        paint(canvas, size, triangle(bytes, layers * across, size, layer * across + head), dark, true);
        const one = make("button", { type: "button", class: "nbt-thumb", "aria-label": `layer ${layer}, head ${head}`, "data-layer": layer, "data-head": head, onclick: () => go(layer, head) }, canvas);
        thumbs.push(one);
        cells.push(one);
      }
    }
    grid.replaceChildren(...cells);
    roving(thumbs, across);
    markHead();
  }
  function markHead() {
    const [, across] = model.get("shape");
    thumbs.forEach((one, at) => {
      const here = Math.floor(at / across) === model.get("layer") && (heads() === 1 || at % across === model.get("head"));
      one.setAttribute("aria-pressed", String(here));
    });
  }

  // -- one head
  const whole = make("canvas"); // a pixel a weight
  function showHead() {
    const bytes = numbers(model.get("triangles"), Uint8Array);
    const size = count();
    if (bytes.length !== (heads() * size * (size + 1)) / 2) return; // the other half of the change is still on its way
    weight = triangle(bytes, heads(), size, model.get("head"));
    paint(whole, size, weight, dark);
    named.textContent = heads() === 1 ? `Rollout up to layer ${model.get("layer")}` : `Layer ${model.get("layer")}, head ${model.get("head")}`;
    matrix.setAttribute("aria-label", `${named.textContent}: a row for each reading token, a column for each token read; arrow keys move, Enter takes a weight apart`);
    markHead();
    showMatrix();
  }
  let due = false;
  function showHeadSoon() { // one change of the kernel's sets several values, one after the other
    if (due) return;
    due = true;
    queueMicrotask(() => { due = false; showHead(); });
  }
  function showMatrix() {
    const size = count();
    const cell = Math.max(1, Math.floor(SIDE / size));
    matrix.width = cell * size;
    matrix.height = cell * size;
    const context = matrix.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(whole, 0, 0, matrix.width, matrix.height);
    context.strokeStyle = "#d55e00";
    context.lineWidth = 2;
    context.strokeRect(place.column * cell, place.row * cell, Math.max(cell, 3), Math.max(cell, 3));
    showTokens();
    showArcs();
    tell();
  }
  const exactRow = (index) => {
    const row = model.get("row");
    const fits = row.index === index && row.column === !reads() && row.layer === model.get("layer") && row.head === model.get("head") && row.mode === model.get("mode");
    return fits ? numbers(model.get("exact"), Float32Array) : null;
  };
  let soon = null;
  function tell() {
    const { row, column } = place;
    const exact = reads() && exactRow(row);
    const share = exact ? exact[column].toPrecision(6) : weight(row, column).toFixed(3);
    readout.textContent = column > row ? `${said(row)} (${row}) may not read ${said(column)} (${column}): it comes later.`
      : `${said(row)} (${row}) gives ${share} to ${said(column)} (${column}).`;
    clearTimeout(soon);
    if (!exact && reads()) soon = setTimeout(() => ask("row", { index: row, aside: true }), 120);
  }
  function moveTo(row, column) {
    const last = count() - 1;
    place = { row: Math.max(0, Math.min(last, row)), column: Math.max(0, Math.min(last, column)) };
    if (!selected.size) hovered = place.row;
    showMatrix();
  }
  const under = (event) => {
    const box = matrix.getBoundingClientRect();
    return [Math.floor(((event.clientY - box.top) / box.height) * count()), Math.floor(((event.clientX - box.left) / box.width) * count())];
  };
  const takeApart = () => {
    if (heads() === 1) { say("Rollout mixes all heads: a single weight of it is no softmax."); return; }
    ask("cell", { row: place.row, column: place.column });
  };
  matrix.addEventListener("mousemove", (event) => moveTo(...under(event)));
  matrix.addEventListener("click", (event) => { moveTo(...under(event)); takeApart(); });
  matrix.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (step) { event.preventDefault(); event.stopPropagation(); moveTo(place.row + step[0], place.column + step[1]); }
    if (event.key === "Enter") { event.preventDefault(); event.stopPropagation(); takeApart(); }
  });

  // -- tokens
  let chips = [];
  function makeTokens() {
    chips = model.get("tokens").map((token, index) => {
      const chip = make("button", { type: "button", class: "nbt-chip", text: visible(token), "data-token": index, title: `token ${index}`,
        onclick: () => { selected.has(index) ? selected.delete(index) : selected.add(index); refocus(); } });
      chip.addEventListener("mouseenter", () => { if (!selected.size) { hovered = index; refocus(); } });
      chip.addEventListener("focus", () => { if (!selected.size) { hovered = index; refocus(); } });
      return chip;
    });
    tokens.replaceChildren(...chips);
    roving(chips, 1);
  }
  function refocus() { showTokens(); showArcs(); weights.refresh(); if (focus().length === 1) ask("row", { index: focus()[0], column: !reads(), aside: true }); }
  function showTokens() {
    const from = focus();
    chips.forEach((chip, index) => {
      let sum = 0;
      for (const one of from) sum += reads() ? weight(one, index) : weight(index, one);
      const share = from.length ? sum / from.length : 0;
      chip.style.setProperty("--heat", share.toFixed(3));
      chip.setAttribute("aria-pressed", String(selected.has(index)));
      chip.setAttribute("aria-label", `${visible(model.get("tokens")[index])}${from.length ? `, weight ${share.toFixed(2)}` : ""}`);
    });
  }
  function showArcs() {
    const size = count();
    const ratio = Math.min(2, 16_000 / (size * LINE));
    arcs.width = 520 * ratio;
    arcs.height = size * LINE * ratio;
    arcs.style.width = "520px";
    arcs.style.height = `${size * LINE}px`;
    const context = arcs.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "11px monospace";
    context.textBaseline = "middle";
    const style = getComputedStyle(arcs);
    const chosen = new Set(focus());
    for (let row = 0; row < size; row += 1) {
      if (chosen.size && reads() && !chosen.has(row)) continue;
      for (let column = 0; column <= row; column += 1) {
        const share = weight(row, column);
        if (share < 0.02 || (chosen.size && !reads() && !chosen.has(column))) continue;
        context.globalAlpha = Math.min(1, share * (chosen.size ? 1 : 0.7) + 0.05);
        context.strokeStyle = dark ? "#56b4e9" : "#0072b2";
        context.lineWidth = 0.5 + 2.5 * share;
        context.beginPath();
        context.moveTo(190, (row + 0.5) * LINE);
        context.bezierCurveTo(260, (row + 0.5) * LINE, 260, (column + 0.5) * LINE, 330, (column + 0.5) * LINE);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    context.fillStyle = style.color;
    for (let index = 0; index < size; index += 1) {
      context.textAlign = "right";
      context.fillText(said(index).slice(0, 24), 184, (index + 0.5) * LINE);
      context.textAlign = "left";
      context.fillText(said(index).slice(0, 24), 336, (index + 0.5) * LINE);
    }
  }

  // -- a weight as arithmetic
  function showCell() {
    const one = model.get("cell");
    if (one.row === undefined) { arithmetic.replaceChildren(); return; }
    const show = (number) => (number === null ? "−∞" : number.toPrecision(6));
    const rows = [
      [`q · k, ${one.width} products summed`, show(one.product)],
      ["times the scale", show(one.scale)],
      ["score", one.masked ? "−∞ (masked: it comes later)" : show(one.score)],
      ["exp(score)", one.masked ? "0" : show(Math.exp(one.score))],
      [`the sum of exp over tokens 0 to ${one.row}`, show(one.total)],
      ["weight: the one divided by the other", show(one.weight)],
    ];
    arithmetic.replaceChildren(table(`Layer ${one.layer}, head ${one.head}: ${said(one.row)} (${one.row}) reads ${said(one.column)} (${one.column})`, ["step", "number"], rows),
      button("Copy code that gives this number", () => copy(one.snippet, say)));
    arithmetic.firstChild.classList.add("nbt-sum");
  }

  // -- heads silenced
  function showBoard() {
    const one = model.get("board");
    say("");
    if (!one.words) { board.replaceChildren(); return; }
    const parts = one.words.map((word, at) => {
      const reach = Math.max(1e-6, ...one.change.flat().map((cell) => Math.abs(cell[at])));
      const made = table(`Change of the log-probability of ${word}, in nats, when the head is silent`, ["layer", ...one.change[0].map((_, head) => `head ${head}`)], one.change.map((row, layer) => [layer, ...row.map((cell) => cell[at].toFixed(2))]));
      made.classList.add("nbt-board");
      made.querySelectorAll("tbody tr").forEach((row, layer) => [...row.children].slice(1).forEach((cell, head) => {
        const value = one.change[layer][head][at];
        const colour = value < 0 ? "var(--nbt-orange)" : "var(--nbt-blue)";
        cell.style.background = `color-mix(in srgb, ${colour} ${Math.round((55 * Math.abs(value)) / reach)}%, transparent)`;
      }));
      return made;
    });
    board.replaceChildren(...parts, make("p", { class: "nbt-faint", text: "Orange: the head had made the word likelier. Blue: it had held it back." }));
  }
  function showLens() {
    const one = model.get("lens");
    if (!one.texts) { lens.replaceChildren(); return; }
    const last = one.texts.length - 1;
    lens.replaceChildren(table(`After ${said(one.place)} (token ${one.place}), had the model ended here`, ["after", ...one.texts[0].map((_, rank) => `${rank + 1}.`)],
      one.texts.map((row, layer) => [layer === 0 ? "embedding" : layer === last ? `layer ${layer - 1}: the answer` : `layer ${layer - 1}`, ...row.map((token, rank) => `${token} ${percent(one.probabilities[layer][rank])}`)])));
  }
  function showScores() {
    const one = model.get("scores");
    say("");
    if (!one.previous) { scored.replaceChildren(); return; }
    const [, across] = model.get("shape");
    const best = (values) => values.flatMap((row, layer) => row.map((value, head) => ({ value, layer, head }))).sort((a, b) => b.value - a.value).slice(0, 3);
    thumbs.forEach((thumb, at) => {
      const [layer, head] = [Math.floor(at / across), at % across];
      const kind = one.induction[layer][head] > 0.3 ? "induction" : one.previous[layer][head] > 0.5 ? "previous" : "";
      thumb.dataset.kind = kind;
    });
    const rows = [["previous token", one.previous], ["induction", one.induction], ["first token", one.first]].map(([name, values]) =>
      [name, best(values).map(({ value, layer, head }) => `${layer}.${head}: ${value.toFixed(2)}`).join("   ")]);
    scored.replaceChildren(table("Strongest heads (layer.head) on random tokens repeated once; p and i mark previous-token and induction heads above", ["reads", "heads"], rows));
  }

  // -- export
  const fileName = (ending) => `attention-layer${model.get("layer")}-head${model.get("head")}.${ending}`;
  function png() {
    const large = make("canvas");
    const whole = make("canvas");
    paint(whole, count(), weight, false);
    large.width = large.height = Math.max(1, Math.round(1200 / count())) * count();
    const context = large.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, large.width, large.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(whole, 0, 0, large.width, large.height);
    large.toBlob((blob) => download(fileName("png"), blob));
  }
  function svg() {
    const size = count();
    const picture = draw("svg", { xmlns: SVG, viewBox: `-90 -90 ${size * 14 + 100} ${size * 14 + 100}`, "font-family": "monospace", "font-size": 10 });
    for (let row = 0; row < size; row += 1) {
      picture.append(draw("text", { x: -6, y: row * 14 + 10, "text-anchor": "end", text: said(row) }), draw("text", { x: 0, y: 0, transform: `translate(${row * 14 + 10} -6) rotate(-90)`, text: said(row) }));
      for (let column = 0; column <= row; column += 1) {
        const share = weight(row, column);
        if (share >= 0.002) picture.append(draw("rect", { x: column * 14, y: row * 14, width: 14, height: 14, fill: "#00448c", "fill-opacity": Math.sqrt(share).toFixed(3) }, draw("title", { text: `${said(row)} reads ${said(column)}: ${share.toFixed(3)}` })));
      }
    }
    download(fileName("svg"), new XMLSerializer().serializeToString(picture), "image/svg+xml");
  }
  const quoted = (cell) => `"${String(cell).replaceAll('"', '""')}"`;
  on("msg:custom", (message, buffers) => {
    if (message?.type !== "exact") return;
    const all = numbers(buffers[0], Float32Array);
    const lines = [["reads \\ read", ...model.get("tokens")].map(quoted).join(",")];
    for (let row = 0; row < message.count; row += 1) lines.push([quoted(model.get("tokens")[row]), ...all.slice(row * message.count, (row + 1) * message.count)].join(","));
    download(fileName("csv"), `${lines.join("\n")}\n`, "text/csv");
  });

  function showText() {
    title.textContent = model.get("title");
    text.value = model.get("text");
    selected = new Set();
    hovered = null;
    place = { row: 0, column: 0 };
    makeTokens();
    showGrid();
    say("");
  }
  on("change:tokens", showText);
  on("change:thumbs", showGrid);
  for (const name of ["triangles", "head", "layer", "mode"]) on(`change:${name}`, showHeadSoon);
  on("change:mode", () => { mode.select.value = model.get("mode"); });
  on("change:exact", () => { tell(); weights.refresh(); });
  on("change:cell", showCell);
  on("change:board", showBoard);
  on("change:lens", showLens);
  on("change:scores", showScores);
  showText();
  showHead();
  showCell();
  showBoard();
  showLens();
  showScores();
  return end;
}

export default { render };
