// Views that need no model of language: the monitor of a stored run, and the form of a notebook's parameters.

/** The training monitor of the run that is stored with the pages. */
function monitorModel(options, { run }) {
  if (!run) throw new Error("No run was stored with these pages.");
  const traits = { title: run.title, state: "finished", line: run.line, rows: run.rows, samples: run.samples, steps: run.steps };
  return new HostModel({ ...traits, left: -1, can_stop: false, shown: {}, revision: 0 }, () => {});
}

const KINDS = {
  int: [/^[+-]?\d+$/, "a whole number"],
  float: [/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i, "a number"],
  bool: [/^(True|False)$/, "True or False"],
};

/** The form of a notebook's parameters: it checks what kind a value is. */
function formModel({ notebook, values = {} }, { forms }) {
  const fields = forms[notebook];
  const given = { ...Object.fromEntries(fields.map((field) => [field.name, field.default])), ...values };
  const check = (texts) => {
    const problems = {};
    const typed = {};
    for (const { name, kind, default: own, optional } of fields) {
      const text = texts[name];
      if (text === own) continue;
      const [pattern, words] = KINDS[kind] ?? [/^/, ""];
      if (pattern.test(text) || (optional && text === "None")) typed[name] = text;
      else problems[name] = `${name} is ${text || "empty"}. Give ${words}.`;
    }
    return { problems, values: typed, cost: "", notice: "" };
  };
  const shown = { title: notebook, fields, running: "", kernel: false, ...check(given) };
  const model = new HostModel({ texts: given, shown, revision: 0 }, ({ id, kind, name, text }) => {
    if (!["edit", "reset"].includes(kind)) return;
    const texts = kind === "edit" ? { ...model.get("texts"), [name]: text } : Object.fromEntries(fields.map((field) => [field.name, field.default]));
    model.traits.texts = texts;
    queueMicrotask(() => {
      model.emit("msg:custom", { id, result: check(texts) }, []);
      model.emit("change:texts");
    });
  });
  return model;
}
