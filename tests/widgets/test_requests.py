"""Requests and replies, without a browser: one reply per request, errors to the one who asked, and what a view finds when it opens."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest

from nbtools.widgets.requests import Request, RequestWidget
from tests.gate import HANG_SECONDS
from tests.widgets.front_end import FrontEnd, ask


class Lamp(RequestWidget):
    threaded: ClassVar[frozenset[str]] = frozenset({"glow"})
    private: ClassVar[frozenset[str]] = RequestWidget.private | {"peek"}

    def __init__(self) -> None:
        super().__init__(shown={"colour": "white", "picture": b"\x00"})
        self.may_end = threading.Event()

    def on_light(self, request: Request) -> dict[str, Any]:
        if request["colour"] == "none":
            raise ValueError("<no> colour\nsecond line")
        return {"colour": request["colour"], "picture": b"\x01\x02"}

    def on_peek(self, request: Request) -> dict[str, Any]:
        return {"secret": b"\x07"}

    def on_glow(self, request: Request) -> dict[str, Any]:
        self.update(request, brightness=1)
        self.may_end.wait(HANG_SECONDS)
        if request.get("broken"):
            raise RuntimeError("the bulb is broken")
        return {"brightness": 0 if request.cancelled.is_set() else 2}


def test_a_request_has_one_reply_with_its_id_and_bytes_travel_as_buffers() -> None:
    lamp = Lamp()
    front_end = FrontEnd(lamp)
    first, second = front_end.send("light", colour="red"), front_end.send("light", colour="blue")
    assert front_end.reply(first).result["colour"] == "red" and front_end.reply(second).result["colour"] == "blue"
    assert front_end.reply(second).result["picture"] == b"\x01\x02"
    assert [content for content, _ in front_end.messages if content.get("received")] == [
        {"id": first, "received": True},
        {"id": second, "received": True},
    ], "so that a view knows that the kernel is there, however long the work takes"


def test_an_error_is_one_line_for_the_request_and_changes_nothing() -> None:
    lamp = Lamp()
    assert ask(lamp, "light", colour="none").error == "ValueError: <no> colour"
    assert lamp.shown["colour"] == "white" and lamp.revision == 0
    assert ask(lamp, "light").error == "KeyError: 'colour'"
    assert "does not know the request 'explode'" in ask(lamp, "explode").error


@pytest.mark.parametrize("message", [None, "text", {}, {"kind": 3, "id": "1"}, {"kind": "light"}, {"kind": "light", "id": 1}])
def test_what_is_no_request_is_ignored(message: Any) -> None:
    lamp = Lamp()
    front_end = FrontEnd(lamp)
    lamp._handle_custom_msg(message, [])
    assert front_end.messages == [] and lamp.revision == 0


def test_a_view_that_opens_finds_all_that_is_shown_in_the_widgets_state() -> None:
    """Also while the kernel is busy: the state comes with the view, no request is needed for it."""
    lamp = Lamp()
    assert lamp.get_state()["shown"] == {"colour": "white", "picture": b"\x00"}
    ask(lamp, "light", colour="red")
    state = lamp.get_state()
    assert state["shown"] == {"colour": "red", "picture": b"\x01\x02", "revision": 1} and state["revision"] == 1


def test_a_change_is_sent_once_and_not_again_as_state() -> None:
    lamp = Lamp()
    sent: list[str] = []
    lamp.send_state = lambda key=None: sent.append(key)
    ask(lamp, "light", colour="red")
    assert sent == ["revision"]


def test_a_view_whose_copy_is_old_asks_for_all() -> None:
    lamp = Lamp()
    ask(lamp, "light", colour="red")
    reply = ask(lamp, "shown")
    assert reply.result == lamp.shown and lamp.revision == 1


def test_a_private_reply_is_not_kept() -> None:
    lamp = Lamp()
    assert ask(lamp, "peek").result == {"secret": b"\x07"}
    assert "secret" not in lamp.shown and lamp.revision == 0


def test_a_threaded_request_reports_and_is_cancelled_by_its_id() -> None:
    lamp = Lamp()
    front_end = FrontEnd(lamp)
    id = front_end.send("glow")
    assert lamp.running and lamp.shown["running"] == id, "every view of the widget can cancel it"
    refused = front_end.send("glow")
    assert "still running" in front_end.reply(refused).error
    lamp._handle_custom_msg({"id": "another", "kind": "cancel"}, [])
    lamp._handle_custom_msg({"id": id, "kind": "cancel"}, [])
    lamp.may_end.set()
    lamp._join(HANG_SECONDS)
    reply = front_end.reply(id)
    assert reply.updates == [{"brightness": 1}] and reply.result["brightness"] == 0
    assert not lamp.running and lamp.shown["running"] == ""
    assert front_end.ask("glow").result["brightness"] == 2, "the next one runs"


def test_a_cancellation_of_another_request_ends_nothing() -> None:
    lamp = Lamp()
    front_end = FrontEnd(lamp)
    id = front_end.send("glow")
    lamp._handle_custom_msg({"id": "another", "kind": "cancel"}, [])
    lamp.may_end.set()
    lamp._join(HANG_SECONDS)
    assert front_end.reply(id).result["brightness"] == 2


def test_after_a_threaded_request_that_fails_the_next_one_runs() -> None:
    lamp = Lamp()
    lamp.may_end.set()
    assert ask(lamp, "glow", broken=True).error == "RuntimeError: the bulb is broken"
    assert lamp.shown["running"] == "" and ask(lamp, "glow").result["brightness"] == 2


def test_two_front_ends_each_get_their_reply() -> None:
    """The messages of a comm reach all of them, so an id must not be one of another browser's."""
    lamp = Lamp()
    one, other = FrontEnd(lamp), FrontEnd(lamp)
    mine, theirs = one.send("light", colour="red"), other.send("light", colour="none")
    assert one.reply(mine).result["colour"] == "red" and one.reply(mine).error == ""
    assert other.reply(theirs).error and other.reply(theirs).result == {}
