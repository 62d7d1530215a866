"""The pages' engine and worker in a real Chromium, driven from Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbtools.widgets.browser.scripts import worker_script

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Numbers cross to Python as JSON, so typed arrays become lists, and what JSON has no word for becomes null.
PLAIN = """
globalThis.plain = (value) => {
  if (ArrayBuffer.isView(value)) return Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
  return value;
};
"""
ENGINE = "Tokenizer, Safetensors, Gpt2, LanguageModel, uniforms, fromBase64, checksum"
START = """
(source) => {
  globalThis.engine = new Function(source + "; return { NAMES };")();
  globalThis.worker = new Worker(URL.createObjectURL(new Blob([source])));
  globalThis.inbox = [];
  worker.onmessage = ({ data }) => {
    const { content, buffers = [] } = data;
    const parts = content?.result ?? content?.update;
    (content?.binary ?? []).forEach((name, index) => { parts[name] = buffers[index]; });
    inbox.push(plain({ ...data, buffers: undefined }));
    globalThis.heard?.();
  };
  globalThis.until = async (wanted) => {
    for (;;) {
      const found = inbox.find(wanted);
      if (found) return found;
      await new Promise((resolve) => { globalThis.heard = resolve; });
    }
  };
}
""".replace("NAMES", ENGINE)


@dataclass
class Answer:
    """What came back for one request."""

    result: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    updates: list[dict[str, Any]] = field(default_factory=list)


class PageWithWorker:
    """A blank page with the engine in it, and a worker beside it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.goto("about:blank")
        page.evaluate(PLAIN)
        page.evaluate(START, worker_script())
        self.count = 0

    def run(self, code: str, argument: Any = None) -> Any:
        """The value of a JavaScript function of the engine and an argument: "(engine, argument) => …"."""
        return self.page.evaluate(f"async (argument) => plain(await ({code})(engine, argument))", argument)

    def load(self, role: str, model: dict[str, Any]) -> str:
        """Give the worker a model. Returns "" or why it cannot be used."""
        code = """([load, model]) => {
          inbox.length = 0;
          worker.postMessage({ load, model: { ...model, weights: engine.fromBase64(model.weights) } });
        }"""
        self.page.evaluate(code, [role, model])
        found = self.page.evaluate("(role) => until((one) => one.loaded === role || one.broken === role)", role)
        return str(found.get("why", ""))

    def blocks(self, blocks: list[dict[str, Any]]) -> None:
        self.page.evaluate("(blocks) => worker.postMessage({ blocks })", blocks)

    def open(self, view: str, **options: Any) -> tuple[str, dict[str, Any]]:
        """A new view: its key and the traits that it begins with; ("", {"failed": TEXT}) if it cannot be made."""
        self.count += 1
        key = f"view-{self.count}"
        self.page.evaluate("([open, view, options]) => worker.postMessage({ open, view, options })", [key, view, options])
        found = self.page.evaluate("(key) => until((one) => one.key === key && (one.opened || one.failed))", key)
        return (key, found["opened"]) if "opened" in found else ("", found)

    def send(self, key: str, kind: str, **arguments: Any) -> str:
        self.count += 1
        id = f"request-{self.count}"
        self.page.evaluate("([key, content]) => worker.postMessage({ key, content })", [key, {**arguments, "id": id, "kind": kind}])
        return id

    def answer(self, id: str) -> Answer:
        """The answer to a request, once it is complete."""
        ended = "(id) => until(({ content }) => content?.id === id && (content.result || content.error))"
        self.page.evaluate(ended, id)
        found = Answer()
        for message in self.page.evaluate("(id) => inbox.map((one) => one.content).filter((one) => one?.id === id)", id):
            if "update" in message:
                found.updates.append(message["update"])
            found.result = message.get("result", found.result)
            found.error = message.get("error", found.error)
        return found

    def ask(self, key: str, kind: str, **arguments: Any) -> Answer:
        return self.answer(self.send(key, kind, **arguments))
