"""Requests of a view's JavaScript to the kernel, and their replies: one request, one reply, matched by id.

    browser to kernel   {"id": ID, "kind": KIND, ...}       answered by the method `on_KIND`
                        {"id": ID, "kind": "cancel"}        ends the running request ID early; it still gets its reply
    kernel to browser   {"id": ID, "received": true}        sent before the work starts, so that the view knows that the kernel is there
                        {"id": ID, "update": PARTS}         something of the result (one token, say), any number of times
                        {"id": ID, "result": PARTS}         the reply
                        {"id": ID, "error": TEXT}           the reply where there is no result, as one line

PARTS maps the names of what the view shows to values. Values of type bytes travel as buffers; the message's "binary" names them. The
messages are custom messages of the comm, which every host of anywidget has had since version 0.9; a front end that does not know an id
belongs to another view of the same widget.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import anywidget
import traitlets

from nbtools.errors import one_line

Parts = Mapping[str, Any]
FROM_PYTHON = "python"


@dataclass(frozen=True)
class Request:
    """One request of a view; `request["name"]` is an argument."""

    kind: str
    """Which method answers it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the view sent with it."""
    id: str = FROM_PYTHON
    """Chosen by the view. An error of a request that Python code makes is shown by every view."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when the result is no longer wanted."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)


class RequestWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """A widget that answers requests.

    A subclass answers requests of kind KIND in `on_KIND(request)`, which returns PARTS or None. What it returns is kept in `shown`, and
    every view of the widget shows it, unless the kind is in `private`: then only the view that asked gets it. Kinds in `threaded` are
    answered in a thread, one at a time: a kernel receives nothing while its main thread works, a cancellation included.
    """

    threaded: ClassVar[frozenset[str]] = frozenset()
    private: ClassVar[frozenset[str]] = frozenset({"shown"})

    shown: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """All parts that the views show. Changed in place, which sends nothing: a view that opens gets it complete, as the widget's state, even
    while the kernel is busy; a view that is open already gets each change as a message."""
    revision = traitlets.Int(0).tag(sync=True)
    """How often `shown` has changed: a view that finds an older copy in its browser asks for `shown`."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._computing = threading.Lock()  # held while a threaded request changes the widget
        self._active: Request | None = None
        self._thread: threading.Thread | None = None
        self.on_msg(self._receive)

    @property
    def running(self) -> bool:
        """Whether a threaded request is at work."""
        return self._active is not None

    def cancel(self, id: str | None = None) -> None:
        """Ask the running request to end early. With `id`, only if it is that request."""
        active = self._active
        if active is not None and id in (None, active.id):
            active.cancelled.set()

    def show(self, **parts: Any) -> None:
        """Change what every view of this widget shows."""
        self._post_parts("", "result", self._keep(parts))

    def update(self, request: Request, **parts: Any) -> None:
        """Send every view something of a result before it is complete."""
        self._post_parts(request.id, "update", parts)

    def answer(self, request: Request) -> None:
        """Answer one request, as if a view had sent it."""
        handler = getattr(self, f"on_{request.kind}", None)
        if handler is None:
            self.send({"id": request.id, "error": f"{type(self).__name__} does not know the request {request.kind!r}. Run the cell again."})
        elif request.kind not in self.threaded:
            self._reply(request, handler)
        elif self.running:
            self.send({"id": request.id, "error": "Another request is still running. Wait until it has finished, or stop it."})
        else:
            self._active = request
            self.show(running=request.id)
            work = partial(self._compute, handler)
            self._thread = threading.Thread(target=self._reply, args=(request, work), name=type(self).__name__, daemon=True)
            self._thread.start()

    def on_shown(self, request: Request) -> dict[str, Any]:
        """Everything, for a view whose copy is out of date."""
        return dict(self.shown)

    def _receive(self, _: Any, content: Any, buffers: Any = None) -> None:
        if not isinstance(content, dict) or not (isinstance(content.get("id"), str) and isinstance(content.get("kind"), str)):
            return
        if content["kind"] == "cancel":
            self.cancel(content["id"])
            return
        self.send({"id": content["id"], "received": True})
        arguments = {name: value for name, value in content.items() if name not in {"id", "kind"}}
        self.answer(Request(content["kind"], arguments, content["id"]))

    def _reply(self, request: Request, handler: Callable[[Request], Parts | None]) -> None:
        """Send what the handler returns, or the line of its error."""
        ended = {"running": ""} if request.kind in self.threaded else {}
        try:
            parts = {**(handler(request) or {}), **ended}
        except Exception as error:  # the handler of a message has no cell to show an error in; the view shows it
            if ended:
                self.show(**ended)
            self.send({"id": request.id, "error": one_line(error)})
            return
        private = request.kind in self.private
        if private and ended:
            self.show(**ended)
        self._post_parts(request.id, "result", parts if private else self._keep(parts), private=private)

    def _compute(self, handler: Callable[[Request], Parts | None], request: Request) -> Parts | None:
        try:
            with self._computing:
                return handler(request)
        finally:
            self._active = None

    def _join(self, seconds: float | None = None) -> None:
        """Wait until the threaded request has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _keep(self, parts: Parts) -> Parts:
        """Put parts into `shown`. Returns them with the new revision."""
        if self.comm is None and not self.shown:
            return parts  # closed: its data are gone for good
        self.revision += 1
        kept = {**parts, "revision": self.revision}
        self.shown.update(kept)
        return kept

    def _post_parts(self, id: str, name: str, parts: Parts, **message: Any) -> None:
        binary = [key for key, value in parts.items() if isinstance(value, bytes)]
        plain = {key: value for key, value in parts.items() if key not in binary}
        self.send({"id": id, name: plain, "binary": binary} | message, [parts[key] for key in binary])
