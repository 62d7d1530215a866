// What the attention explorer computes on demand: one weight as arithmetic, scores of heads, ablations, the logit lens.

const number6 = (value) => (value === null ? "−∞" : value.toPrecision(6));

/** One weight, step by step. */
function weightTable(explorer) {
  const { view, data } = explorer;
  function steps(cell) {
    return [
      [`q · k, a sum of ${cell.width} products`, number6(cell.product)],
      ["scale", number6(cell.scale)],
      ["score = q · k × scale", cell.masked ? "−∞ (masked: the key comes later)" : number6(cell.score)],
      ["exp(score)", cell.masked ? "0" : number6(Math.exp(cell.score))],
      [`sum of exp(score) over tokens 0 to ${cell.row}`, number6(cell.total)],
      ["weight = exp(score) / sum", number6(cell.weight)],
    ];
  }
  return panel(() => {
    const { cell } = data;
    if (cell.row === undefined) return [];
    const [query, key] = [cell.row, cell.column].map((index) => `${explorer.nameOf(index)} (${index})`);
    const caption = `Layer ${cell.layer}, head ${cell.head}: from ${query} to ${key}`;
    const code = () => weightCode(data.model, data.text, cell);
    const copyCode = button("Copy code that computes this weight", () => copy(code(), view.say));
    return [table(caption, ["step", "number"], steps(cell), "nbt-sum"), copyCode];
  });
}

/** The heads with the highest scores. */
function scoreTable(explorer) {
  const { data } = explorer;
  function best(values) {
    const all = values.flatMap((row, layer) => row.map((value, head) => ({ value, name: `${layer}.${head}` })));
    const sorted = all.sort((one, other) => other.value - one.value).slice(0, 3);
    return sorted.map(({ value, name }) => `${name}:\u00a0${value.toFixed(2)}`).join(", ");
  }
  return panel(() => {
    const { previous, induction, first } = data.scores;
    if (!previous) return [];
    const kinds = {
      "the previous token": previous,
      "what followed last time (induction)": induction,
      "the first token": first,
    };
    const rows = Object.entries(kinds).map(([name, values]) => [name, best(values)]);
    const caption =
      "Strongest heads (layer.head) on random tokens repeated once. p and i mark previous-token and induction heads.";
    return [table(caption, ["attends to", "heads"], rows)];
  });
}

/** One table per word: the change of its log-probability without each head. */
function ablationTables(explorer) {
  const { data } = explorer;
  function colour(cell, value, largest) {
    const name = value < 0 ? "--nbt-orange" : "--nbt-blue";
    const strength = Math.round((55 * Math.abs(value)) / largest);
    cell.style.background = `color-mix(in srgb, var(${name}) ${strength}%, transparent)`;
  }
  function tableOf(word, values) {
    const largest = Math.max(1e-6, ...values.flat().map(Math.abs));
    const caption = `Change of the log-probability of ${word}, in nats, without the head`;
    const head = ["layer", ...values[0].map((_, index) => `head ${index}`)];
    const rows = values.map((row, layer) => [layer, ...row.map((value) => value.toFixed(2))]);
    const made = table(caption, head, rows, "nbt-ablation");
    made.querySelectorAll("tbody tr").forEach((row, layer) => {
      [...row.children].slice(1).forEach((cell, index) => colour(cell, values[layer][index], largest));
    });
    return made;
  }
  return panel(() => {
    const { words, change } = data.ablation;
    if (!words) return [];
    const changeOf = (index) => change.map((row) => row.map((cell) => cell[index]));
    const tables = words.map((word, index) => tableOf(word, changeOf(index)));
    const legend = "Orange: the head raised the word's probability. Blue: the head lowered it.";
    return [...tables, make("p", { class: "nbt-faint", text: legend })];
  });
}

/** The likeliest next tokens after each layer. */
function lensTable(explorer) {
  const { data } = explorer;
  return panel(() => {
    const { texts, probabilities, position } = data.lens;
    if (!texts) return [];
    const nameOf = (index) => {
      if (index === 0) return "embedding";
      return index === texts.length - 1 ? `layer ${index - 1}: the prediction` : `layer ${index - 1}`;
    };
    const cell = (index) => (token, rank) => `${token} ${percent(probabilities[index][rank])}`;
    const rows = texts.map((row, index) => [nameOf(index), ...row.map(cell(index))]);
    const caption = `Likeliest next tokens after ${explorer.nameOf(position)} (token ${position}), by layer`;
    return [table(caption, ["after", ...texts[0].map((_, rank) => `${rank + 1}.`)], rows)];
  });
}
