// The attention matrix of one head as PNG, SVG and CSV.

const CELL = 14; // pixels of a weight in SVG
const IMAGE_SIDE = 1200; // pixels of a PNG, about

function matrixFiles(explorer) {
  const { view, data } = explorer;
  const fileName = (ending) => `attention-layer${data.layer}-head${data.head}.${ending}`;
  function png() {
    const small = make("canvas");
    const large = make("canvas");
    paint(small, explorer.count(), explorer.weight, { dark: false });
    large.width = Math.max(1, Math.round(IMAGE_SIDE / explorer.count())) * explorer.count();
    large.height = large.width;
    const context = large.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, large.width, large.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, large.width, large.height);
    large.toBlob((blob) => download(fileName("png"), blob));
  }
  function svg() {
    const picture = matrixAsSvg(explorer);
    download(fileName("svg"), new XMLSerializer().serializeToString(picture), "image/svg+xml");
  }
  async function csv() {
    const parts = await view.ask("export");
    if (parts) download(fileName("csv"), matrixAsCsv(parts.tokens, numbers(parts.matrix, Float32Array)), "text/csv");
  }
  const note = make("span", { class: "nbt-faint", text: "of the head shown" });
  const buttons = [button("PNG", png), button("SVG", svg), button("CSV of exact numbers", csv)];
  return make("div", { class: "nbt-row" }, ...buttons, note);
}

function matrixAsSvg(explorer) {
  const side = explorer.count() * CELL + 100;
  const attributes = { xmlns: SVG, viewBox: `-90 -90 ${side} ${side}`, "font-family": "monospace", "font-size": 10 };
  const picture = draw("svg", attributes);
  const label = (text, more) => draw("text", { text, ...more });
  for (let row = 0; row < explorer.count(); row += 1) {
    const middle = row * CELL + 10;
    picture.append(
      label(explorer.nameOf(row), { x: -6, y: middle, "text-anchor": "end" }),
      label(explorer.nameOf(row), { x: 0, y: 0, transform: `translate(${middle} -6) rotate(-90)` }),
    );
    for (let column = 0; column <= row; column += 1) {
      const weight = explorer.weight(row, column);
      if (weight < 0.002) continue;
      const box = { x: column * CELL, y: row * CELL, width: CELL, height: CELL };
      const fill = { fill: "#00448c", "fill-opacity": Math.sqrt(weight).toFixed(3) };
      const text = `from ${explorer.nameOf(row)} to ${explorer.nameOf(column)}: ${weight.toFixed(3)}`;
      picture.append(draw("rect", { ...box, ...fill }, draw("title", { text })));
    }
  }
  return picture;
}

function matrixAsCsv(tokens, values) {
  const quoted = (cell) => `"${String(cell).replaceAll('"', '""')}"`;
  const count = tokens.length;
  const head = ["query \\ key", ...tokens].map(quoted).join(",");
  const rows = tokens.map((token, row) => [quoted(token), ...values.slice(row * count, (row + 1) * count)].join(","));
  return `${[head, ...rows].join("\n")}\n`;
}
