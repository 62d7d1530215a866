// The connection of a view to the kernel, and its frame. requests.py describes the messages.

const NO_ANSWER =
  "The kernel does not answer: it is busy with a cell, or it was restarted. Wait, or run the cell again.";
const PATIENCE = 4000; // milliseconds until a view says so

/**
 * Requests to the kernel, and the data that it says are shown.
 *
 * `data` holds all parts that are shown, by name. `changed(parts)` is called with every change of them, whichever view
 * of the widget asked for it, and `failed(text)` with the line of an error, or "" when the error is over. Replies of
 * a request are ignored once a later one of the same kind has its reply.
 */
function connect(model, { changed, failed }) {
  const client = Math.random().toString(36).slice(2, 10);
  const data = { ...model.get("shown") };
  const pending = new Map(); // requests without a reply, by id
  const newest = new Map(); // number of the newest request that has its reply, by kind
  let count = 0;
  let silent = false; // whether the view says that the kernel does not answer

  function deliver(message) {
    const noAnswer = () => {
      silent = true;
      failed(NO_ANSWER);
    };
    try {
      Promise.resolve(model.send(message)).catch(noAnswer);
    } catch {
      noAnswer(); // the connection of this view is closed
    }
    return setTimeout(noAnswer, PATIENCE);
  }

  /** Send a request. The promise gives the result, or null for an error or a reply that came too late. */
  function ask(kind, details = {}, { quiet = false } = {}) {
    count += 1;
    const request = { id: `${client}-${count}`, number: count, kind };
    if (!quiet) failed("");
    pending.set(request.id, request);
    const reply = new Promise((resolve) => {
      request.resolve = resolve;
    });
    request.timer = deliver({ ...details, id: request.id, kind });
    return reply;
  }

  function cancel(id) {
    clearTimeout(deliver({ id, kind: "cancel" }));
  }

  function merge(parts) {
    Object.assign(data, parts);
    changed(parts);
  }

  function heard(request) {
    clearTimeout(request.timer);
    if (silent) failed("");
    silent = false;
  }

  /** Take the request off the list. Returns whether its reply is still wanted. */
  function settle(request) {
    pending.delete(request.id);
    if (request.number < (newest.get(request.kind) ?? 0)) return false;
    newest.set(request.kind, request.number);
    return true;
  }

  function receive(message, buffers = []) {
    const request = pending.get(message?.id);
    if (request) heard(request);
    const parts = message?.update ?? message?.result ?? null;
    (message?.binary ?? []).forEach((name, index) => {
      parts[name] = buffers[index];
    });
    const wanted = !request || message.update || message.received || settle(request);
    if (wanted && message?.error && (request || message.id === "python")) failed(message.error);
    if (wanted && parts && !message.private) merge(parts);
    if (request && !pending.has(request.id)) request.resolve(wanted ? parts : null);
  }

  model.on("msg:custom", receive);

  /** Ask for everything if the browser's copy is older than the kernel's: no view was there when a change came. */
  async function refresh() {
    if ((data.revision ?? 0) === model.get("revision")) return;
    const parts = await ask("shown", {}, { quiet: true });
    if (parts) merge(parts);
  }

  function end() {
    for (const { timer } of pending.values()) clearTimeout(timer);
    model.off("msg:custom", receive);
  }

  return { data, ask, cancel, merge, refresh, end };
}

/** The element of a view: its section, a line for an error and a line for what happens. */
function frameElements(el, label) {
  const status = make("div", { class: "nbt-status", role: "status", "aria-live": "polite" });
  const problem = make("div", { class: "nbt-problem", role: "alert" });
  const root = make("section", { class: "nbt", "aria-label": label });
  // Keys pressed here belong to the view. Notebook 7 listens before us, and a notebook in command mode would take arrow
  // keys and Enter for its own cells, unless the very element that has the focus says otherwise.
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
  el.replaceChildren(make("div", { class: "nbt-frame" }, root, problem, status));
  return { root, problem, status };
}

/**
 * The frame of a view.
 *
 * root             the element to fill
 * data, ask, cancel, merge   see `connect`
 * say(text)        sets the line at the bottom
 * work(sentence, kind, details)   asks like `ask`, with a sentence in that line until the reply has come
 * on(name, f)      listens to the model until the view ends
 * start(drawers, repaint)   draws everything, and later what has changed: `drawers` maps names of parts to functions;
 *                  `repaint` draws what has colours of its own again when the page's theme has changed
 * end()            to be returned by `render`
 */
function frame(model, el, label) {
  const { root, problem, status } = frameElements(el, label);
  const listeners = [];
  let drawers = {};
  let repaint = null;
  const say = (text) => {
    status.textContent = text;
  };
  say.place = status.parentNode;
  const drawersOf = (parts) =>
    new Set(
      Object.keys(drawers)
        .filter((name) => name in parts)
        .map((name) => drawers[name]),
    );
  const connection = connect(model, {
    changed(parts) {
      for (const draw of drawersOf(parts)) draw();
      if ("notice" in parts) say(parts.notice);
    },
    failed(text) {
      problem.textContent = text;
      if (text) say("");
    },
  });
  async function work(sentence, kind, details) {
    say(sentence);
    await connection.ask(kind, details);
    say("");
  }
  function on(name, listener) {
    model.on(name, listener);
    listeners.push([name, listener]);
  }
  const themes = new MutationObserver(() => requestAnimationFrame(repaint));
  function start(table, painted = () => {}) {
    drawers = table;
    repaint = painted;
    for (const draw of new Set(Object.values(drawers))) draw();
    themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
    connection.refresh();
  }
  function end() {
    connection.end();
    themes.disconnect();
    for (const [name, listener] of listeners) model.off(name, listener);
  }
  return { ...connection, root, say, work, on, start, end };
}
