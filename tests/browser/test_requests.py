"""The JavaScript side of requests, in a page with a stand-in for the widget's model: what a view shows, whatever order messages come in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from nbtools.widgets.front_end import script
from tests.browser.jupyterlab import find_browser, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow(8), pytest.mark.xdist_group("requests")]
MODULE = script() + "\nexport { connect, frame };"
# `kernel.say` is a message of the kernel, which reaches every view of the model. `open` opens a view.
STAND_IN = """async (source) => {
    const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    window.fresh = (state) => {
        const listeners = new Map();
        const values = { shown: { colour: "white", revision: 0 }, revision: 0, ...state };
        const kernel = { sent: [], say: (message, buffers) => {
            for (const one of [...(listeners.get("msg:custom") ?? [])]) one(message, buffers);
        } };
        const model = {
            get: (name) => values[name],
            on: (name, f) => listeners.set(name, [...(listeners.get(name) ?? []), f]),
            off: (name, f) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => one !== f)),
            send: (message) => { kernel.sent.push(message); },
        };
        const open = () => {
            const view = { changes: [], errors: [] };
            const changed = (parts) => view.changes.push(Object.keys(parts).sort().join());
            return Object.assign(view, module.connect(model, { changed, failed: (text) => view.errors.push(text) }));
        };
        return { kernel, model, open };
    };
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(find_browser(), tmp_path_factory.mktemp("requests")) as page:
        page.goto("about:blank")
        page.evaluate(STAND_IN, MODULE)
        yield page


def run(page: Page, code: str) -> Any:
    """What a piece of JavaScript returns. `kernel`, `model`, `open` and one opened `view` are there."""
    return page.evaluate(f"async () => {{ const {{ kernel, model, open }} = fresh(); const view = open(); {code} }}")


def test_a_reply_resolves_its_request_and_changes_what_is_shown(page: Page) -> None:
    code = """const reply = view.ask("light", { colour: "red" });
        const [{ id, kind, colour }] = kernel.sent;
        kernel.say({ id, received: true });
        kernel.say({ id, result: { colour: "red", revision: 1 }, binary: ["picture"] }, [new DataView(new ArrayBuffer(3))]);
        const result = await reply;
        return [kind, colour, result.colour, view.data.colour, view.data.picture.byteLength, view.changes];"""
    assert run(page, code) == ["light", "red", "red", "red", 3, ["colour,picture,revision"]]


def test_a_late_reply_of_a_superseded_request_is_ignored(page: Page) -> None:
    code = """const first = view.ask("layer", { layer: 1 }), second = view.ask("layer", { layer: 2 });
        kernel.say({ id: kernel.sent[1].id, result: { layer: 2 }, binary: [] });
        kernel.say({ id: kernel.sent[0].id, result: { layer: 1 }, binary: [] });
        return [view.data.layer, await first, (await second).layer];"""
    assert run(page, code) == [2, None, 2]


def test_a_late_error_of_a_superseded_request_is_ignored(page: Page) -> None:
    code = """const first = view.ask("layer"); view.ask("layer");
        kernel.say({ id: kernel.sent[1].id, result: { layer: 2 }, binary: [] });
        kernel.say({ id: kernel.sent[0].id, error: "too late" });
        return [await first, view.errors];"""
    assert run(page, code) == [None, ["", ""]]


def test_an_error_belongs_to_the_view_that_asked(page: Page) -> None:
    code = """const other = open();
        const reply = view.ask("light");
        kernel.say({ id: kernel.sent[0].id, error: "no colour" });
        return [await reply, view.errors, other.errors];"""
    assert run(page, code) == [None, ["", "no colour"], []]


def test_two_views_of_one_widget_have_their_own_ids_and_show_the_same(page: Page) -> None:
    code = """const other = open();
        const mine = view.ask("light", { colour: "red" }), theirs = other.ask("light", { colour: "blue" });
        const [one, two] = kernel.sent.map((message) => message.id);
        kernel.say({ id: one, result: { colour: "red", revision: 1 }, binary: [] });
        kernel.say({ id: two, result: { colour: "blue", revision: 2 }, binary: [] });
        return [one !== two, (await mine).colour, (await theirs).colour, view.data.colour, other.data.colour];"""
    assert run(page, code) == [True, "red", "blue", "blue", "blue"]


def test_a_private_reply_reaches_only_the_view_that_asked(page: Page) -> None:
    code = """const other = open();
        const reply = view.ask("row");
        kernel.say({ id: kernel.sent[0].id, result: { row: 3 }, binary: [], private: true });
        return [(await reply).row, other.changes, view.changes, "row" in other.data];"""
    assert run(page, code) == [3, [], [], False]


def test_updates_come_before_the_reply_and_reach_every_view(page: Page) -> None:
    code = """const other = open();
        const reply = view.ask("generate");
        const { id } = kernel.sent[0];
        kernel.say({ id, update: { token: "a" }, binary: [] });
        const before = [view.data.token, other.data.token];
        kernel.say({ id, update: { token: "b" }, binary: [] });
        kernel.say({ id, result: { notice: "done" }, binary: [] });
        return [before, view.data.token, (await reply).notice];"""
    assert run(page, code) == [["a", "a"], "b", "done"]


def test_a_view_that_opens_later_asks_for_what_has_changed(page: Page) -> None:
    code = """const later = fresh({ revision: 4 });
        const other = later.open();
        const refreshed = other.refresh();
        later.kernel.say({ id: later.kernel.sent[0].id, result: { colour: "green", revision: 4 }, binary: [], private: true });
        await refreshed;
        await view.refresh();
        return [other.data.colour, later.kernel.sent[0].kind, kernel.sent.length];"""
    assert run(page, code) == ["green", "shown", 0], "one that is up to date asks for nothing"


def test_silence_is_said_until_the_kernel_is_heard(page: Page) -> None:
    code = """view.ask("light");
        await new Promise((done) => setTimeout(done, 4500));
        const before = view.errors.at(-1);
        kernel.say({ id: kernel.sent[0].id, received: true });
        return [before.slice(0, 26), view.errors.at(-1)];"""
    assert run(page, code) == ["The kernel does not answer", ""]


def test_a_closed_connection_is_said_at_once(page: Page) -> None:
    code = """model.send = () => { throw new Error("closed"); };
        view.ask("light");
        return view.errors.at(-1).slice(0, 26);"""
    assert run(page, code) == "The kernel does not answer"


def test_a_view_that_has_ended_listens_no_more(page: Page) -> None:
    code = """view.end();
        kernel.say({ id: "", result: { colour: "red", revision: 1 }, binary: [] });
        return [view.data.colour, view.changes];"""
    assert run(page, code) == ["white", []]
