/** One field: label, input, what the parameter is, and its error. */
function parameterField(view, model, field) {
  const id = unique("field");
  const error = make("span", { class: "nbt-problem", id: `${id}-error` });
  const attributes = { id, "aria-describedby": `${id}-error` };
  const options = ["True", "False"].map((text) => make("option", { value: text, text }));
  const input =
    field.kind === "bool"
      ? make("select", attributes, ...options)
      : make("input", { ...attributes, type: "text", spellcheck: "false" });
  input.addEventListener("change", () => view.ask("edit", { name: field.name, text: input.value }));
  const help = `${field.help}${field.optional && !field.help.includes("None") ? " (None: not set)" : ""}`;
  function show() {
    const text = model.get("texts")[field.name];
    const problem = view.data.problems[field.name];
    if (input !== document.activeElement) input.value = text; // what is being typed stays
    error.textContent = problem ?? "";
    input.setAttribute("aria-invalid", String(problem !== undefined));
    input.classList.toggle("nbt-changed", text !== field.default);
  }
  const label = make("label", { for: id, class: "nbt-mono", text: field.name });
  const element = make(
    "div",
    { class: "nbt-field" },
    label,
    input,
    make("span", { class: "nbt-faint", text: help }),
    error,
  );
  return { element, show };
}

function render({ model, el }) {
  const view = frame(model, el, `Parameters of ${model.get("shown").title}`);
  const { data, root } = view;
  const fields = data.fields.map((field) => parameterField(view, model, field));
  const estimate = button("Estimate time and memory", () => view.ask("estimate"));
  const there = data.kernel !== false; // a notebook, in which parameters can be set and steps tried
  const command = make("code", { class: "nbt-mono nbt-command" });
  const copyCommand = button("Copy the papermill command", () => copy(command.textContent, view.say));
  const cost = make("p", { role: "status", "aria-live": "polite" });
  root.append(
    make("h4", { text: `Parameters of ${data.title}` }),
    make("div", { class: "nbt-fields" }, ...fields.map((field) => field.element)),
    make(
      "div",
      { class: "nbt-row" },
      there ? button("Set here", () => view.ask("apply"), { class: "nbt-button nbt-main" }) : null,
      button("Reset", () => view.ask("reset"), { title: "Give all fields the values of the notebook's cell" }),
      there ? estimate : null,
      copyCommand,
    ),
    command,
    cost,
  );

  function showFields() {
    for (const field of fields) field.show();
  }
  function showCommand() {
    const wrong = Object.keys(data.problems).length > 0;
    command.textContent = wrong ? "" : papermillCommand(data.title, Object.entries(data.values));
    copyCommand.disabled = wrong;
  }
  function showCost() {
    estimate.disabled = Boolean(data.running);
    cost.textContent = data.running ? "Running a few trial steps …" : data.cost;
  }
  view.on("change:texts", showFields);
  view.start({ problems: showFields, values: showCommand, cost: showCost, running: showCost });
  return view.end;
}

export default { render };
