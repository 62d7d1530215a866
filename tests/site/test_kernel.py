"""The worker's answers to the views against those of the widgets in Python: the same requests, the same parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nbtools import AttentionExplorer, Microscope, PromptLab, TokenInspector
from nbtools.data import pack
from nbtools.models import LanguageModel
from nbtools.site.live import view_options
from tests.site.worker import PageWithWorker
from tests.widgets.front_end import FrontEnd

pytestmark = pytest.mark.xdist_group("site-kernel")

TEXT = "The sea was calm, and the sea was cold; nobody in the village had seen it so."
HOSTILE = "<b>bold</b> \u202e \x00 🎉 ⏎"
Pair = tuple[LanguageModel, LanguageModel, dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def site(in_page: PageWithWorker, pair: Pair) -> Iterator[PageWithWorker]:
    """The page's worker with the tiny pair."""
    assert in_page.load("base", pair[2]) == "" and in_page.load("tuned", pair[3]) == ""
    yield in_page


def alike(found: Any, expected: Any, within: float = 2e-4, where: str = "") -> None:
    """Assert that two structures are equal, numbers up to `within`."""
    if isinstance(expected, bytes):
        kind = np.float32 if len(expected) % 4 == 0 and len(found) * 4 == len(expected) else np.uint8
        expected = np.frombuffer(expected, kind).tolist()
        within = 1.01 if kind is np.uint8 else within  # of 255
    if isinstance(expected, dict):
        assert set(map(str, expected)) == set(found), where
        for name, value in expected.items():
            alike(found[str(name)], value, within, f"{where}.{name}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            alike(one, other, within, f"{where}[{index}]")
    elif isinstance(expected, float) and found is not None:
        assert found == pytest.approx(expected, abs=within, rel=within), where
    else:
        assert found == expected, where


def named(parts: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: parts[name] for name in names}


@pytest.mark.parametrize("prompt", ["It was a dark night", HOSTILE, ""])
def test_the_prompt_lab_begins_alike(site: PageWithWorker, pair: Pair, prompt: str) -> None:
    settings = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2, "max_new_tokens": 20, "seed": 5}
    lab = PromptLab(pair[0], prompt, **settings)
    _, traits = site.open("PromptLab", prompt=prompt, **settings)
    shown = traits["shown"]
    assert (traits["prompt"], traits["settings"]) == (lab.prompt, lab.settings)
    assert shown["title"] == lab.shown["title"] and shown["longest"] == lab.shown["longest"]
    alike(shown["logits"], lab.shown["logits"])
    assert sorted(shown["next"]["history"]) == sorted(lab.shown["next"]["history"])
    same = set(shown["next"]["texts"]) & set(lab.shown["next"]["texts"])
    assert len(same) > 250 and all(shown["next"]["texts"][one] == lab.shown["next"]["texts"][one] for one in same)
    assert shown["model"] == lab.shown["model"]


def test_a_text_its_branch_and_what_follows_a_token_are_alike(site: PageWithWorker, pair: Pair) -> None:
    settings = {"temperature": 0.9, "top_k": 30, "max_new_tokens": 12, "seed": 2}
    lab = PromptLab(pair[0], "It was a dark night", **settings)
    front = FrontEnd(lab)
    key, _ = site.open("PromptLab", prompt="It was a dark night", **settings)

    def both(kind: str, **arguments: Any) -> tuple[Any, Any]:
        return site.ask(key, kind, **arguments), front.ask(kind, **arguments)

    ours, theirs = both("write")
    alike([one["node"] for one in ours.updates], [one["node"] for one in theirs.updates])
    place = theirs.updates[4]["node"]
    token, text, probability = place["alternatives"][-1]
    branch = {"parent": 3, "token": token, "text": text, "probability": probability, "uniform": None, "alternatives": []}
    for kind, arguments in (
        ("add", {"node": branch}),
        ("write", {"node": 12, "changes": {"max_new_tokens": 4}}),
        ("next", {"node": 2}),
        ("write", {"node": 2, "changes": {"max_new_tokens": 1}}),
        ("write", {"node": -1, "changes": {"temperature": 1.5}}),
    ):
        ours, theirs = both(kind, **arguments)
        alike([one.get("node") for one in ours.updates], [one.get("node") for one in theirs.updates], where=kind)
        if kind != "add":
            assert ours.result["at"] == theirs.result["at"], kind
            alike(ours.result["logits"], theirs.result["logits"], where=kind)
    for options in ({"max_new_tokens": 6}, {"temperature": 0.8, "top_k": 5, "seed": 3}, {"num_beams": 4, "max_new_tokens": 8}):
        ours, theirs = both("decode", options=options)
        assert ours.result["text"] == theirs.result["text"], options
    ours, theirs = both("names", ids=[0, 7, 300])
    assert ours.result["texts"] == theirs.result["texts"]
    assert all("no token number 99" in one.error for one in both("next", node=99))
    assert "does not know" in front.ask("dance").error and "notebook" in site.ask(key, "dance").error


def test_another_prompt_begins_a_new_tree(site: PageWithWorker, pair: Pair) -> None:
    lab = PromptLab(pair[0], "It was", max_new_tokens=5)
    front = FrontEnd(lab)
    key, _ = site.open("PromptLab", prompt="It was", max_new_tokens=5)
    for kind, arguments in (("write", {}), ("change", {"prompt": "She was"}), ("write", {"node": 3})):
        ours, theirs = site.ask(key, kind, **arguments), front.ask(kind, **arguments)
        alike([one.get("node") for one in ours.updates], [one.get("node") for one in theirs.updates], where=kind)
    assert lab.text.startswith("She was") and theirs.updates[0]["node"]["parent"] == -1


def test_a_text_can_be_stopped_and_another_request_is_refused_meanwhile(site: PageWithWorker) -> None:
    key, _ = site.open("PromptLab", prompt="It was", temperature=1.5, top_k=0, top_p=1.0, max_new_tokens=60)
    id = site.send(key, "write")
    assert "still running" in site.ask(key, "decode", options={}).error
    site.page.evaluate("([key, content]) => worker.postMessage({ key, content })", [key, {"id": id, "kind": "cancel"}])
    answer = site.answer(id)
    assert answer.result["notice"] == "stopped" and 0 < len(answer.updates) < 60
    assert site.ask(key, "write", node=len(answer.updates) - 1, changes={"max_new_tokens": 1}).result["notice"] == "done"


def test_the_attention_explorer_answers_alike(site: PageWithWorker, pair: Pair) -> None:
    explorer = AttentionExplorer(pair[0], TEXT)
    front = FrontEnd(explorer)
    key, traits = site.open("AttentionExplorer", **{**(view_options(repr(explorer)) or {}), "model": "base"})
    parts = ("tokens", "shape", "thumbnails", "triangles", "layer", "head", "mode", "modes", "text")
    alike(named(traits["shown"], *parts), named(explorer.shown, *parts))
    for mode in explorer.shown["modes"]:
        for kind, arguments in {
            "layer": {"layer": 1, "head": 2, "mode": mode},
            "row": {"index": 5},
            "export": {},
            "cell": {"row": 6, "column": 3},
        }.items():
            ours, theirs = site.ask(key, kind, **arguments), front.ask(kind, **arguments)
            for parts_of in (ours.result, theirs.result):
                parts_of.pop("revision", None)
            alike(ours.result, theirs.result, where=f"{mode} {kind}")
    masked = site.ask(key, "cell", row=2, column=4).result["cell"]
    assert masked["masked"] and masked["score"] is None and masked["weight"] == 0
    column = site.ask(key, "row", index=3, column=True).result["exact"]
    alike(column, front.ask("row", index=3, column=True).result["exact"])
    for kind, arguments in {
        "ablate": {"words": "sea the"},
        "lens": {"position": 4},
        "text": {"text": HOSTILE},
        "head": {"head": 1},
    }.items():
        ours, theirs = site.ask(key, kind, **arguments), front.ask(kind, **arguments)
        expected = {name: value for name, value in theirs.result.items() if name != "revision"}
        found = {name: value for name, value in ours.result.items() if name != "running"}
        alike(found, expected, 1e-3, kind)
    assert "tokens and" in site.ask(key, "text", text="word " * 100).error and "no text" in site.ask(key, "text", text="").error


def test_the_heads_are_scored_alike(site: PageWithWorker, pair: Pair) -> None:
    key, _ = site.open("AttentionExplorer", text=TEXT)
    alike(site.ask(key, "score").result["scores"], FrontEnd(AttentionExplorer(pair[0], TEXT)).ask("score").result["scores"])


def test_the_microscope_compares_alike(site: PageWithWorker, pair: Pair) -> None:
    chosen = {"max_new_tokens": 10, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "seed": 3}
    microscope = Microscope(pair[0], pair[1], TEXT, **chosen)
    front = FrontEnd(microscope)
    key, traits = site.open("Microscope", prompt=TEXT, **chosen)
    parts = ("prompt", "seed", "tokens", "shift", "texts", "layer", "head", "triangles", "changes")
    alike(named(traits["shown"], *parts), named(microscope.shown, *parts), 1e-3)
    for kind, arguments in {"head": {"layer": 1, "head": 1}, "compare": {"prompt": "a", "seed": 9}}.items():
        ours, theirs = site.ask(key, kind, **arguments), front.ask(kind, **arguments)
        alike(
            *({name: value for name, value in one.result.items() if name not in {"revision", "title"}} for one in (ours, theirs)),
            1e-3,
            kind,
        )
    assert "The prompt is empty" in site.ask(key, "compare", prompt="", seed=0).error


def test_the_token_inspector_shows_alike(site: PageWithWorker, pair: Pair) -> None:
    packed = pack(["A fine film. I liked it.", "Not good at all, and far too long for what it says."] * 8, pair[0], 32)
    inspector = TokenInspector(pair[0], packed)
    names = {"ids": packed.input_ids, "positions": packed.position_ids, "documents": packed.document_ids}
    site.blocks([{name: rows[index].tolist() for name, rows in names.items()} for index in range(len(packed))])
    key, traits = site.open("TokenInspector", block=0)
    parts = ("rows", "loss", "columns", "blocks", "title", "block")
    alike(named(traits["shown"], *parts), named(inspector.shown, *parts))
    ours, theirs = site.ask(key, "block", block=2), FrontEnd(inspector).ask("block", block=2)
    alike(named(ours.result, "rows", "loss", "title", "block"), named(theirs.result, "rows", "loss", "title", "block"))
    assert "no block 99" in site.ask(key, "block", block=99).error
