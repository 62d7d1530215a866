const WIDE = 640;
const HIGH = 220;
const EDGE = { left: 46, right: 12, top: 10, bottom: 28 };

function duration(seconds) {
  if (seconds < 0) return "not known yet";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function render({ model, el }) {
  const { root, say, ask, on, end } = frame(model, el, `Training monitor: ${model.get("title")}`);
  const title = make("h4");
  const bar = make("progress", { max: 1, value: 0, "aria-label": "steps done" });
  const facts = make("dl", { class: "nbt-facts" });
  const picture = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", class: "nbt-curve" });
  const stop = button("Stop and save", () => ask("stop"));
  const curve = behind("The curve as a table", () => table("Means of ten steps", ["step", "loss", "validation perplexity", "learning rate", "tokens", "seconds"],
    model.get("rows").map((row) => [row.step, row.loss.toFixed(4), row.validation_perplexity?.toFixed(2) ?? "", row.learning_rate.toPrecision(3), row.tokens, row.seconds])));
  const texts = make("div");
  let chosen = null; // a score that was picked; null: the newest
  const time = slider("training time", { min: 0, max: 0, step: 1, value: 0, describe: (at) => `step ${model.get("samples")[at]?.step ?? 0}` }, (at) => {
    chosen = at === model.get("samples").length - 1 ? null : at;
    showSamples();
  });
  const legend = make("p", { class: "nbt-faint", text: "Loss in nats a token, step by step. Blue: training blocks. Orange: held-out reviews." });
  root.append(title, bar, facts, picture, legend, curve.details, make("div", { class: "nbt-row" }, stop), make("h4", { text: "What it would write" }), time.row, texts);

  function showCurve() {
    const rows = model.get("rows");
    picture.replaceChildren();
    if (!rows.length) return;
    const scores = rows.filter((row) => row.validation_perplexity);
    const values = [...rows.map((row) => row.loss), ...scores.map((row) => Math.log(row.validation_perplexity))];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const span = Math.max(high - low, 0.05);
    const last = Math.max(model.get("steps"), rows[rows.length - 1].step);
    const x = (step) => EDGE.left + ((WIDE - EDGE.left - EDGE.right) * step) / last;
    const y = (loss) => EDGE.top + ((HIGH - EDGE.top - EDGE.bottom) * (high + 0.05 * span - loss)) / (1.1 * span);
    for (let tick = 0; tick <= 4; tick += 1) {
      const loss = low + (span * tick) / 4;
      picture.append(draw("line", { x1: EDGE.left, x2: WIDE - EDGE.right, y1: y(loss), y2: y(loss), class: "nbt-tick" }), draw("text", { x: EDGE.left - 6, y: y(loss) + 4, "text-anchor": "end", text: loss.toFixed(2) }));
      const step = Math.round((last * tick) / 4);
      picture.append(draw("text", { x: x(step), y: HIGH - 10, "text-anchor": tick === 4 ? "end" : "middle", text: step }));
    }
    picture.append(draw("polyline", { points: rows.map((row) => `${x(row.step).toFixed(1)},${y(row.loss).toFixed(1)}`).join(" "), class: "nbt-loss" }));
    for (const row of scores) picture.append(draw("circle", { cx: x(row.step), cy: y(Math.log(row.validation_perplexity)), r: 4, class: "nbt-score" }, draw("title", { text: `step ${row.step}: validation perplexity ${row.validation_perplexity.toFixed(1)}` })));
    picture.setAttribute("aria-label", `Loss in nats a token from ${rows[0].loss.toFixed(2)} at step ${rows[0].step} to ${rows[rows.length - 1].loss.toFixed(2)} at step ${rows[rows.length - 1].step}; circles are validation scores`);
    curve.refresh();
  }
  function showFacts() {
    const rows = model.get("rows");
    const now = rows[rows.length - 1];
    const scored = [...rows].reverse().find((row) => row.validation_perplexity);
    title.textContent = `${model.get("title")}: ${model.get("state")}`;
    bar.max = model.get("steps") || 1;
    bar.value = now?.step ?? 0;
    const said = now ? {
      step: `${now.step} of ${model.get("steps")}`, loss: `${now.loss.toFixed(3)} nats, perplexity ${Math.exp(now.loss).toFixed(1)}`,
      validation: scored ? `perplexity ${scored.validation_perplexity.toFixed(1)} at step ${scored.step}` : "not scored yet",
      "learning rate": now.learning_rate.toPrecision(3), speed: now.seconds ? `${Math.round(now.tokens / now.seconds).toLocaleString("en")} tokens a second` : "",
      "time left": model.get("state") === "finished" ? "none" : model.get("state") === "running" ? duration(model.get("left")) : "stopped",
    } : {};
    facts.replaceChildren(...Object.entries(said).map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
    stop.disabled = !model.get("can_stop") || !["waiting", "running"].includes(model.get("state"));
    say(model.get("line"));
  }
  function showSamples() {
    const samples = model.get("samples");
    time.input.max = Math.max(0, samples.length - 1);
    time.row.hidden = samples.length < 2;
    const at = chosen ?? samples.length - 1;
    time.set(Math.max(0, at));
    const one = samples[at];
    texts.replaceChildren(...(one ? one.texts.map(([prompt, text]) => make("p", { class: "nbt-sample" }, make("span", { class: "nbt-faint", text: prompt }), make("span", { text }))) : [make("p", { class: "nbt-faint", text: "No score yet." })]));
  }
  on("change:rows", () => { showCurve(); showFacts(); });
  for (const name of ["state", "line", "left", "can_stop", "steps"]) on(`change:${name}`, showFacts);
  on("change:samples", showSamples);
  showCurve();
  showFacts();
  showSamples();
  return end;
}

export default { render };
