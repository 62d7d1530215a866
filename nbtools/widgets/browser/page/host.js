// What makes a page of the course live: it loads models when they are needed, and gives each view a model object with anywidget's contract
// (get, set, save_changes, on, off, send), which the worker answers in the place of a kernel. course.js defines KERNEL, the worker's source.

const course = { views: {}, parts: {} }; // renderers by the name of the view; what the files of the folder `live` register, by name
globalThis.course = course;
const LIVE = new URL(".", document.currentScript.src || location.href); // the folder of this script
const scripts = new Map();

/** Run a script of the folder `live` once. From a disk nothing else may be read: neither modules nor fetch. */
async function loadScript(name) {
  if (!scripts.has(name) && !course.parts[name]) {
    const script = Object.assign(document.createElement("script"), { src: new URL(`${name}.js`, LIVE).href });
    const done = new Promise((resolve, reject) => {
      script.onload = () => (course.parts[name] ? resolve() : reject(new Error(DAMAGED(name))));
      script.onerror = () => reject(new Error(DAMAGED(name)));
    });
    document.head.append(script);
    scripts.set(name, done);
  }
  await scripts.get(name); // nothing to wait for where it stands in the page
  return course.parts[name]; // not kept by the promise: weights are dropped once the worker has them
}
const DAMAGED = (name) => `The file live/${name}.js is missing or damaged. Copy the pages again.`;

/** A model object of anywidget for one view. */
class HostModel {
  constructor(traits, send) {
    Object.assign(this, { traits, answer: send, listeners: new Map() });
  }
  get(name) {
    return this.traits[name];
  }
  set(name, value) {
    this.change({ [name]: value });
  }
  save_changes() {}
  on(event, listener) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
  }
  off(event, listener) {
    this.listeners.set(event, (this.listeners.get(event) ?? []).filter((one) => one !== listener));
  }
  emit(event, ...values) {
    for (const listener of this.listeners.get(event) ?? []) listener(...values);
  }
  send(content) {
    this.answer(content);
  }
  change(traits) {
    Object.assign(this.traits, traits);
    for (const name of Object.keys(traits)) this.emit(`change:${name}`);
  }
}

/** The weights of a stored model, a Uint8Array. */
function weightBytes({ name, weights }) {
  try {
    return fromBase64(weights);
  } catch {
    throw new Error(`The weights of ${name} are damaged. Copy the pages again.`);
  }
}

/** Views read arrays of numbers as a DataView, which is what a notebook's front end gives them. */
const asView = (value) => (ArrayBuffer.isView(value) ? new DataView(value.buffer, value.byteOffset, value.byteLength) : value);
const withViews = (parts) => Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, asView(value)]));

/** The worker with its models, shared by all views of the page. */
class Kernel {
  constructor() {
    const source = URL.createObjectURL(new Blob([KERNEL], { type: "text/javascript" }));
    this.worker = new Worker(source);
    this.worker.onmessage = ({ data }) => this.receive(data);
    Object.assign(this, { count: 0, opening: new Map(), models: new Map(), roles: new Map() });
  }

  /** Have a model in the worker; the promise fails with a sentence if its file is damaged. */
  need(role) {
    if (!this.roles.has(role)) this.roles.set(role, this.fetch(role));
    return this.roles.get(role);
  }

  async fetch(role) {
    const model = await loadScript(role);
    if (model.plus) await this.need(model.plus);
    const weights = weightBytes(model);
    const loaded = new Promise((resolve, reject) => this.opening.set(role, { resolve, reject }));
    this.worker.postMessage({ load: role, model: { ...model, weights } }, [weights.buffer]); // handed over, not copied
    course.parts[role] = {};
    document.head.querySelector(`script[src$="/${role}.js"]`)?.remove();
    return loaded;
  }

  open(view, options) {
    this.count += 1;
    const key = `view-${this.count}`;
    const opened = new Promise((resolve, reject) => this.opening.set(key, { resolve, reject }));
    this.worker.postMessage({ open: key, view, options });
    return opened;
  }

  receive({ loaded, broken, why, key, opened, failed, content, buffers = [], traits }) {
    const waiting = this.opening.get(loaded ?? broken ?? key);
    if (loaded) waiting.resolve();
    else if (broken) waiting.reject(new Error(why));
    else if (failed) waiting.reject(new Error(failed));
    else if (opened) {
      const model = new HostModel({ ...opened, shown: withViews(opened.shown) }, (message) => this.worker.postMessage({ key, content: message }));
      this.models.set(key, model);
      waiting.resolve(model);
    } else if (traits) this.models.get(key)?.change(traits);
    else this.models.get(key)?.emit("msg:custom", content, buffers.map(asView));
  }
}

let kernel = null;

/** The model object of a view: one that the worker answers, or one for a view that needs no model of language. */
async function openModel(view, options) {
  if (view === "TrainingMonitor") return monitorModel(options, await loadScript("data"));
  if (view === "ParameterForm") return formModel(options, await loadScript("data"));
  kernel ??= new Kernel();
  const roles = view === "Microscope" ? ["base", "tuned"] : [options.model ?? "base"];
  await Promise.all(roles.map((role) => kernel.need(role)));
  if (view === "TokenInspector") {
    const { blocks } = await loadScript("data");
    kernel.worker.postMessage({ blocks });
  }
  return kernel.open(view, options);
}

/** Make one place live: the static form stays until the view is there, and if it cannot be made. */
async function makeLive(place) {
  const { view, options } = place.dataset;
  const said = document.createElement("p");
  said.className = "live-status";
  said.setAttribute("role", "status");
  said.textContent = "Loading the model into this page …";
  place.prepend(said);
  try {
    const model = await openModel(view, JSON.parse(options));
    const live = document.createElement("div");
    course.views[view]({ model, el: live });
    place.replaceChildren(live);
    place.dataset.state = "live";
  } catch (error) {
    said.textContent = `This is the stored form. ${error.message}`;
    said.setAttribute("role", "alert");
    place.dataset.state = "failed";
  }
}

function start() {
  const places = [...document.querySelectorAll(".live")];
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        makeLive(target);
      }
    },
    { rootMargin: "300px" },
  );
  for (const place of places) near.observe(place);
}
