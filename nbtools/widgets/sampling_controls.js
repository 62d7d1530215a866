// The prompt lab's sliders for the sampling parameters.

const SETTLE = 150; // milliseconds without movement until the kernel is told

const orOff =
  (isOff, digits = 2) =>
  (value) =>
    isOff(value) ? "off" : value.toFixed(digits);

/** The controls by name: label, limits, and how a value is written. */
const SAMPLING_CONTROLS = {
  temperature: { min: 0, max: 2, step: 0.05, describe: (value) => (value ? value.toFixed(2) : "0 (greedy)") },
  top_k: { label: "top-k", min: 0, max: 200, step: 1, describe: orOff((k) => !k, 0) },
  top_p: { label: "top-p", min: 0.05, max: 1, step: 0.01, describe: orOff((p) => p >= 1) },
  min_p: { label: "min-p", min: 0, max: 0.5, step: 0.01, describe: orOff((p) => !p) },
  repetition_penalty: { label: "repetition penalty", min: 1, max: 2, step: 0.05, describe: orOff((p) => p <= 1) },
  max_new_tokens: { label: "new tokens", min: 1, step: 1, digits: 0 },
};
const MOST_SEED = 2 ** 31 - 1;

/**
 * Sliders for the trait `settings`. `moved(name)` is called at once; `save(settings)` when a slider has come to rest.
 * `settings()` gives what the sliders show, `flush()` forgets that it was not saved yet, because a request carries it.
 */
function samplingControls(view, model, { moved, save }) {
  let unsaved = null; // settings that the kernel does not have yet; an echo of older ones must not undo them
  let timer = null;
  const settings = () => unsaved ?? model.get("settings");
  const flush = () => {
    clearTimeout(timer);
    const now = settings();
    unsaved = null;
    return now;
  };
  const change = (name) => (value) => {
    unsaved = { ...settings(), [name]: value };
    moved(name);
    clearTimeout(timer);
    timer = setTimeout(() => save(unsaved), SETTLE);
  };
  const start = settings();
  const controls = Object.entries(SAMPLING_CONTROLS).map(([name, { label = name, ...options }]) => {
    const limits = name === "max_new_tokens" ? { max: view.data.longest } : {};
    return [name, slider(label, { ...options, ...limits, value: start[name] }, change(name))];
  });
  controls.push(["seed", numberBox("seed", { min: 0, max: MOST_SEED, value: start.seed }, change("seed"))]);
  view.on("change:settings", () => {
    if (JSON.stringify(unsaved) === JSON.stringify(model.get("settings"))) unsaved = null;
    for (const [name, control] of controls) control.set(settings()[name]);
    moved("repetition_penalty");
  });
  return { settings, flush, element: make("div", {}, ...controls.map(([, control]) => control.row)) };
}
