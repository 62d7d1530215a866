function duration(seconds) {
  if (seconds < 0) return "not known yet";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** What is known of the run now, by name. */
function runFacts(model) {
  const [rows, steps, state] = [model.get("rows"), model.get("steps"), model.get("state")];
  if (!rows.length) return {};
  const row = rows[rows.length - 1];
  const evaluated = [...rows].reverse().find((one) => one.validation_perplexity);
  const score = evaluated && `perplexity ${evaluated.validation_perplexity.toFixed(1)} at step ${evaluated.step}`;
  const speed = row.seconds ? `${Math.round(row.tokens / row.seconds).toLocaleString("en")} tokens per second` : "";
  const left = { finished: "none", running: duration(model.get("left")) };
  return {
    step: `${row.step} of ${steps}`,
    loss: `${row.loss.toFixed(3)} nats per token, perplexity ${Math.exp(row.loss).toFixed(1)}`,
    validation: score ?? "not evaluated yet",
    "learning rate": row.learning_rate.toPrecision(3),
    speed,
    "time left": left[state] ?? "stopped",
  };
}

/** Samples of the run, with a slider over its evaluations. */
function samplePanel(model) {
  const texts = make("div");
  let chosen = null; // index of an evaluation; null: the newest
  const describe = (index) => `step ${model.get("samples")[index]?.step ?? 0}`;
  const time = slider("evaluation", { min: 0, max: 0, step: 1, value: 0, describe }, (index) => {
    chosen = index === model.get("samples").length - 1 ? null : index;
    show();
  });
  function paragraph([prompt, text]) {
    const begin = make("span", { class: "nbt-faint", text: prompt });
    return make("p", { class: "nbt-sample" }, begin, make("span", { text }));
  }
  function show() {
    const samples = model.get("samples");
    const last = samples.length - 1;
    time.input.max = Math.max(0, last);
    time.row.hidden = samples.length < 2;
    time.set(Math.max(0, chosen ?? last));
    const none = make("p", { class: "nbt-faint", text: "There are no samples yet." });
    texts.replaceChildren(...(samples[chosen ?? last]?.texts.map(paragraph) ?? [none]));
  }
  return { elements: [time.row, texts], show };
}

function render({ model, el }) {
  const view = frame(model, el, `Training monitor: ${model.get("title")}`);
  const title = make("h4");
  const bar = make("progress", { max: 1, value: 0, "aria-label": "steps done" });
  const facts = make("dl", { class: "nbt-facts" });
  const curve = learningCurve();
  const numbersOfCurve = behind("The curve as a table", () => curveTable(model.get("rows")));
  const stop = button("Stop and save", () => view.ask("stop"));
  const samples = samplePanel(model);
  const legend = "Loss in nats per token, by step. Blue line: training. Orange circles: validation reviews.";
  view.root.append(
    title,
    bar,
    facts,
    curve.element,
    make("p", { class: "nbt-faint", text: legend }),
    numbersOfCurve.details,
    make("div", { class: "nbt-row" }, stop),
    make("h4", { text: "Samples" }),
    ...samples.elements,
  );

  function showFacts() {
    const [rows, state] = [model.get("rows"), model.get("state")];
    title.textContent = `${model.get("title")}: ${state}`;
    bar.max = model.get("steps") || 1;
    bar.value = rows[rows.length - 1]?.step ?? 0;
    const pairs = Object.entries(runFacts(model));
    facts.replaceChildren(
      ...pairs.map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: value }))),
    );
    stop.disabled = !model.get("can_stop") || !["waiting", "running"].includes(state);
    view.say(model.get("line"));
  }
  function showCurve() {
    curve.show(model.get("rows"), model.get("steps"));
    numbersOfCurve.refresh();
    showFacts();
  }
  view.on("change:rows", showCurve);
  for (const name of ["state", "line", "left", "can_stop", "steps"]) view.on(`change:${name}`, showFacts);
  view.on("change:samples", samples.show);
  showCurve();
  samples.show();
  view.start({});
  return view.end;
}

export default { render };
