// The prompt lab's pictures of the next token: its likeliest candidates, and the random number that selects one.

const TOP_TOKENS = 10;
const TABLE_ROWS = 100;
const LEAST_WIDTH = 0.002; // probability of the narrowest interval that is drawn by itself

/** A bar per token for the likeliest next tokens, and one for all others together. */
function topTokenBars() {
  const bars = make("div", { class: "nbt-top-tokens", role: "img" });
  function bar([label, probability], row) {
    const filled = make("span", { class: row === TOP_TOKENS ? "nbt-rest" : "" });
    filled.style.width = `${Math.max(0.4, 100 * probability)}%`;
    return make(
      "div",
      { class: "nbt-top-token" },
      make("span", { class: "nbt-mono nbt-label", text: label, title: label }),
      make("span", { class: "nbt-bar" }, filled),
      make("span", { class: "nbt-value", text: percent(probability) }),
    );
  }
  function show({ probabilities, order, kept }, nameOf) {
    const top = Array.from(order.slice(0, Math.min(TOP_TOKENS, kept)));
    const rows = top.map((id) => [visible(nameOf(id)), probabilities[id]]);
    const rest = 1 - top.reduce((sum, id) => sum + probabilities[id], 0);
    if (kept > top.length) rows.push([`${(kept - top.length).toLocaleString("en")} others`, Math.max(0, rest)]);
    bars.replaceChildren(...rows.map(bar));
    const words = rows.map(([label, probability]) => `${label} ${percent(probability)}`).join(", ");
    bars.setAttribute("aria-label", `Likeliest next tokens: ${words}`);
  }
  return { element: bars, show };
}

/** What the filters did, in a sentence. */
function describeFilters({ kept, removed, entropy }, vocabulary) {
  const remain = `${kept.toLocaleString("en")} of ${vocabulary.toLocaleString("en")} tokens remain`;
  return `${remain}; the filters removed ${percent(removed)} of the probability; entropy ${entropy.toFixed(2)} bits.`;
}

/** The cumulative distribution as a ruler from 0 to 1, with a mark where the random number lies. */
function cumulativeRuler() {
  const size = { viewBox: "0 0 1000 64", preserveAspectRatio: "none" };
  const ruler = draw("svg", { ...size, class: "nbt-ruler", role: "img", "aria-label": "No distribution yet" });
  const sentence = make("p");
  function interval(begin, width, kind, label) {
    const box = { x: 1000 * begin, y: 20, width: Math.max(0.6, 1000 * width), height: 26, class: kind };
    return draw("rect", box, draw("title", { text: label }));
  }
  function intervals(probabilities, selected, nameOf) {
    const drawn = [];
    let begin = 0;
    probabilities.forEach((probability, id) => {
      if (probability && (probability >= LEAST_WIDTH || id === selected)) {
        const kind = id === selected ? "nbt-selected" : drawn.length % 2 ? "nbt-odd" : "nbt-even";
        drawn.push(interval(begin, probability, kind, `${visible(nameOf(id))} ${percent(probability)}`));
      }
      begin += probability;
    });
    return drawn;
  }
  function show({ probabilities }, nameOf, { uniform, seed, greedy }) {
    if (uniform === undefined) {
      ruler.replaceChildren();
      sentence.textContent = "";
      return;
    }
    const { id, begin, end } = sampleInverseCdf(probabilities, uniform);
    ruler.replaceChildren(
      ...intervals(probabilities, id, nameOf),
      draw("rect", { x: 0, y: 20, width: 1000, height: 26, class: "nbt-outline" }),
      draw("path", { d: `M ${1000 * uniform} 20 l -7 -16 h 14 z`, class: "nbt-marker" }),
    );
    const token = visible(nameOf(id));
    sentence.textContent = greedy
      ? `Temperature 0 is greedy decoding and uses no random number: the next token is ${token}.`
      : `Seed ${seed} draws ${uniform.toFixed(4)} here, which selects ${token}: ` +
        `its interval is ${begin.toFixed(4)} to ${end.toFixed(4)}.`;
    ruler.setAttribute("aria-label", sentence.textContent);
  }
  return { elements: [ruler, sentence], show };
}

/** The distribution after the current token: bars, a sentence, the ruler and a table. */
function distributionPanel(view, controls) {
  const { data } = view;
  const bars = topTokenBars();
  const ruler = cumulativeRuler();
  const facts = make("p", { class: "nbt-faint" });
  let ranking = null;
  let current = null;
  const names = new Map(); // of tokens that are not among the likeliest ones, whose texts come with the logits
  const nameOf = (id) => data.next?.texts[id] ?? names.get(id) ?? `#${id}`;
  /** Ask for the name of a token that has none yet. */
  async function name(id) {
    if (id in data.next.texts || names.has(id)) return;
    names.set(id, `#${id}`);
    const found = await view.ask("names", { ids: [id] }, { quiet: true });
    if (!found?.texts[id]) return;
    names.set(id, found.texts[id]);
    show();
  }
  const details = behind("The distribution as a table", () => {
    if (!current) return make("p", { text: "There is no distribution yet." });
    const rows = Array.from(current.order.slice(0, Math.min(current.kept, TABLE_ROWS)), (id) => [
      visible(nameOf(id)),
      id,
      current.probabilities[id].toPrecision(6),
    ]);
    const caption = `The ${rows.length} likeliest of the ${current.kept.toLocaleString("en")} tokens that remain`;
    return table(caption, ["token", "id", "probability"], rows);
  });
  function show() {
    const logits = numbers(data.logits, Float32Array);
    if (!logits.length) return;
    const settings = controls.settings();
    ranking ??= ranked(logits, data.next.history, settings.repetition_penalty);
    current = warp(ranking, settings);
    bars.show(current, nameOf);
    facts.textContent = describeFilters(current, logits.length);
    const uniform = uniforms(settings.seed, data.next.depth + 1).pop();
    ruler.show(current, nameOf, { uniform, seed: settings.seed, greedy: !settings.temperature });
    details.refresh();
    name(sampleInverseCdf(current.probabilities, uniform).id);
  }
  function showAnew() {
    ranking = null;
    show();
  }
  return { bars: bars.element, facts, ruler: ruler.elements, table: details.details, show, showAnew };
}
