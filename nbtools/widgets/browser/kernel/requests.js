// What answers a view in the browser: the messages of nbtools/widgets/requests.py, whose classes these follow.

const pause = () => new Promise((resolve) => setTimeout(resolve));

class View {
  static threaded = new Set(); // kinds of requests during which others are heard: a press of Stop, above all
  static answersOnly = new Set(); // kinds whose result is for the view that asked, and not shown

  /** `post` sends a message, with buffers, to the view; `tell` changes traits of its model. */
  constructor({ post, tell }) {
    Object.assign(this, { post, tell, shown: {}, traits: {}, active: null });
  }

  /** What the view's model begins with. */
  start() {
    return { ...this.traits, shown: this.shown, revision: 0 };
  }

  set(traits) {
    Object.assign(this.traits, traits);
    this.tell(traits);
  }

  send(id, name, parts, more = {}) {
    const binary = Object.keys(parts).filter((key) => ArrayBuffer.isView(parts[key]));
    const plain = Object.fromEntries(Object.entries(parts).filter(([key]) => !binary.includes(key)));
    this.post({ id, [name]: plain, binary, ...more }, binary.map((key) => parts[key]));
  }

  show(parts) {
    Object.assign(this.shown, parts);
    this.send("", "result", parts);
  }

  update(request, parts) {
    this.send(request.id, "update", parts);
  }

  async receive(request) {
    if (request.kind === "cancel") {
      if (this.active?.id === request.id) this.active.cancelled = true;
      return;
    }
    this.post({ id: request.id, received: true }, []);
    const { threaded, answersOnly } = this.constructor;
    const long = threaded.has(request.kind);
    if (long && this.active) {
      this.post({ id: request.id, error: "Another request is still running. Wait until it has finished, or stop it." }, []);
      return;
    }
    if (long) {
      this.active = request;
      this.show({ running: request.id });
    }
    let ended = long ? { running: "" } : {};
    try {
      const handler = this[`on_${request.kind}`];
      if (!handler) throw new Error("This needs the notebook, with Python behind it.");
      const found = (await handler.call(this, request)) ?? {};
      if (long) this.active = null;
      const alone = answersOnly.has(request.kind);
      if (!alone) Object.assign(this.shown, found, ended);
      if (long && alone) this.show(ended);
      this.send(request.id, "result", { ...found, ...ended }, alone ? { private: true } : {});
    } catch (error) {
      if (long) this.active = null;
      if (long) this.show(ended);
      this.post({ id: request.id, error: error.message }, []);
    }
  }

  /** Let waiting messages be heard; true if the request was stopped. */
  async stopped(request) {
    await pause();
    return Boolean(request?.cancelled);
  }
}
