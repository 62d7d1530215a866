function render({ model, el }) {
  const { root, say, ask, on, end } = frame(model, el, `Parameters of ${model.get("title")}`);
  const inputs = new Map();
  const rows = model.get("fields").map((field) => {
    const id = unique("field");
    const said = make("span", { class: "nbt-problem", id: `${id}-problem` });
    let input;
    if (field.kind === "bool") {
      input = make("select", { id, "aria-describedby": `${id}-problem` }, ...["True", "False"].map((text) => make("option", { value: text, text })));
    } else {
      input = make("input", { id, type: "text", "aria-describedby": `${id}-problem`, spellcheck: "false" });
    }
    input.value = model.get("texts")[field.name];
    input.addEventListener("change", () => put(model, "texts", { ...model.get("texts"), [field.name]: input.value }));
    inputs.set(field.name, { input, said, field });
    return make("div", { class: "nbt-field" }, make("label", { for: id, class: "nbt-mono", text: field.name }), input,
      make("span", { class: "nbt-faint", text: `${field.help}${field.optional ? " (None: not set)" : ""}` }), said);
  });
  const price = button("What will it cost?", () => ask("price"));
  const command = make("code", { class: "nbt-mono nbt-command" });
  const copyIt = button("Copy the papermill command", () => copy(model.get("command"), say));
  const cost = make("p", { role: "status", "aria-live": "polite" });
  root.append(make("h4", { text: `Parameters of ${model.get("title")}` }), make("div", { class: "nbt-fields" }, ...rows),
    make("div", { class: "nbt-row" }, button("Set here", () => ask("apply"), { class: "nbt-button nbt-main" }), button("As in the cell", () => ask("reset")), price, copyIt), command, cost);

  function show() {
    const [texts, problems] = [model.get("texts"), model.get("problems")];
    for (const [name, { input, said, field }] of inputs) {
      if (input !== document.activeElement) input.value = texts[name]; // what is being typed is left alone
      said.textContent = problems[name] ?? "";
      input.setAttribute("aria-invalid", String(name in problems));
      input.classList.toggle("nbt-changed", texts[name] !== field.default);
    }
    command.textContent = model.get("command");
    copyIt.disabled = !model.get("command");
    price.disabled = model.get("pricing");
    cost.textContent = model.get("pricing") ? "Probing a few steps …" : model.get("cost");
    say(model.get("done"));
  }
  for (const name of ["texts", "problems", "command", "cost", "pricing", "done"]) on(`change:${name}`, show);
  show();
  return end;
}

export default { render };
