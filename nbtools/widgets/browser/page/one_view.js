// A page with one view: answered by a worker where its models are in the page, else showing what was computed when it was made.

const NO_KERNEL = "This page shows what was computed when it was made. In the notebook the view goes on.";

/** The model object of a view that nobody answers. What needs no computation still works: settings, and another head of the same layer. */
function storedModel(traits, binary) {
  const shown = { ...traits.shown, kernel: false };
  for (const [name, text] of Object.entries(binary)) {
    shown[name] = new DataView(fromBase64(text).buffer);
  }
  const model = new HostModel({ ...traits, shown }, ({ id, kind, settings, head }) => {
    if (kind === "cancel") return;
    if (kind === "change" && settings) model.change({ settings });
    const result = { head: { head }, change: {}, names: { texts: {} } }[kind];
    queueMicrotask(() => model.emit("msg:custom", result ? { id, result } : { id, error: NO_KERNEL }, []));
  });
  return model;
}

async function showView({ view, traits, binary, options, models, data }) {
  const place = document.querySelector("#view");
  document.body.dataset.jpThemeLight = String(!matchMedia("(prefers-color-scheme: dark)").matches);
  Object.assign(course.parts, models, data ? { data } : {});
  try {
    const model = models ? await openModel(view, options) : storedModel(traits, binary);
    course.views[view]({ model, el: place });
    place.dataset.state = "live";
  } catch (error) {
    place.textContent = error.message;
    place.dataset.state = "failed";
  }
}
