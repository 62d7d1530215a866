"""What a front end does, done from Python: it sends requests, and sorts the messages that come back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from nbtools.widgets.requests import RequestWidget

VIEW = "application/vnd.jupyter.widget-view+json"
_numbers = itertools.count(1)


@dataclass
class Reply:
    """What came back for one request."""

    result: dict[str, Any] = field(default_factory=dict)
    """The parts of the reply, buffers in their places."""
    error: str = ""
    updates: list[dict[str, Any]] = field(default_factory=list)
    """The parts that were sent before the reply."""


class FrontEnd:
    """One browser with a view of `view` in it."""

    def __init__(self, view: RequestWidget) -> None:
        self.view = view
        self.messages: list[tuple[dict[str, Any], list[bytes]]] = []
        send = view.send

        def record(content: Any, buffers: Any = None) -> None:
            self.messages.append((content, list(buffers or [])))
            send(content, buffers)

        view.send = record

    def send(self, kind: str, **arguments: Any) -> str:
        """Send a request and return its id, without waiting."""
        id = f"browser-{next(_numbers)}"
        self.view._handle_custom_msg({**arguments, "id": id, "kind": kind}, [])
        return id

    def ask(self, kind: str, **arguments: Any) -> Reply:
        """Send a request and wait for its reply."""
        id = self.send(kind, **arguments)
        self.view._join(600)
        return self.reply(id)

    def reply(self, id: str) -> Reply:
        """What has come back for a request so far. There is at most one reply, and it is the last message."""
        replies = [(content, buffers) for content, buffers in self.messages if content["id"] == id]
        final = [content for content, _ in replies if "result" in content or "error" in content]
        assert len(final) <= 1 and final in ([], [replies[-1][0]]), "one request, one reply"
        found = Reply()
        for content, buffers in replies:
            if "update" in content:
                found.updates.append(_parts(content, "update", buffers))
            elif "result" in content:
                found.result = _parts(content, "result", buffers)
            elif "error" in content:
                found.error = content["error"]
        return found


def ask(view: RequestWidget, kind: str, **arguments: Any) -> Reply:
    """One request of a front end that is there for it alone."""
    return FrontEnd(view).ask(kind, **arguments)


def _parts(content: dict[str, Any], name: str, buffers: list[bytes]) -> dict[str, Any]:
    return content[name] | dict(zip(content["binary"], buffers, strict=True))
