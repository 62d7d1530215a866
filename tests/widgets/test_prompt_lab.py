"""The prompt lab without a browser: messages arrive from Python, as a front end would send them."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from nbtools import load_model
from nbtools.errors import InputError
from nbtools.generation import generate, next_logits, next_tokens
from nbtools.models import LanguageModel
from nbtools.widgets import PromptLab
from tests.gate import HANG_SECONDS
from tests.widgets.front_end import VIEW, FrontEnd, ask

PROMPT = "The movie was"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("mini", verbose=False)


@pytest.fixture(autouse=True)
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)


def words(markup: str) -> str:
    return re.sub(r"<[^>]*>", " ", markup)


def written(lab: PromptLab, kind: str, **arguments: Any) -> str:
    """The text after a request that must succeed."""
    assert ask(lab, kind, **arguments).error == ""
    return lab.text


def test_generate_writes_what_generate_gives(lm: LanguageModel) -> None:
    values: dict[str, Any] = {"temperature": 0.9, "top_k": 20, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 5}
    lab = PromptLab(lm, PROMPT, max_new_tokens=12, **values)
    reply = ask(lab, "write")
    assert lab.text == generate(lm, PROMPT, max_new_tokens=12, **values)
    assert reply.error == "" and reply.result["notice"] == "done" and not lab.running and lab.shown["running"] == ""
    assert "".join(update["node"]["text"] for update in reply.updates) == lab.text.removeprefix(PROMPT), "one update per token"


def test_temperature_zero_is_greedy_whatever_the_other_parameters_say(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, top_k=3, min_p=0.4, max_new_tokens=8, seed=9)
    assert written(lab, "write") == generate(lm, PROMPT, max_new_tokens=8)


def test_a_changed_seed_changes_the_text_and_the_old_seed_brings_it_back(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=1.0, max_new_tokens=12)
    texts = []
    for seed in (0, 1, 0):
        lab.settings = {**lab.settings, "seed": seed}
        texts.append(written(lab, "write"))
    assert texts[0] == texts[2] != texts[1]


def test_the_text_grows_while_it_is_written_and_its_cancellation_ends_it(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=400)
    front_end = FrontEnd(lab)
    seen: list[str] = []
    update = lab.update

    def watch(request: Any, **parts: Any) -> None:
        update(request, **parts)
        seen.append(lab.text)
        if len(seen) == 5:
            front_end.view._handle_custom_msg({"id": request.id, "kind": "cancel"}, [])

    monkeypatch.setattr(lab, "update", watch)
    reply = front_end.ask("write")
    assert not lab.running and reply.result["notice"] == "stopped"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert lab.text.startswith(PROMPT) and len(lm.tokenizer(lab.text)["input_ids"]) < 20


def test_a_cancellation_of_another_request_stops_nothing(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=20)
    lab.start()
    lab._handle_custom_msg({"id": "browser-of-somebody-else-3", "kind": "cancel"}, [])
    assert lab.wait(HANG_SECONDS) == generate(lm, PROMPT, max_new_tokens=20)


def test_a_second_generate_while_one_runs_starts_nothing(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=200)
    lab.start()
    front_end = FrontEnd(lab)
    id = front_end.send("write")
    assert "still running" in front_end.reply(id).error
    lab.cancel()
    lab.wait(HANG_SECONDS)
    assert all(node["parent"] == node["number"] - 1 for node in lab.shown["nodes"]), "one text"


def test_the_browser_gets_all_logits_of_the_place_where_the_lab_stands(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=3)
    assert np.allclose(np.frombuffer(lab.shown["logits"], np.float32), next_logits(lm, PROMPT).numpy(), atol=1e-4)
    text = written(lab, "write")
    assert np.allclose(np.frombuffer(lab.shown["logits"], np.float32), next_logits(lm, text).numpy(), atol=1e-3)
    assert lab.shown["next"]["depth"] == 3


def test_the_prompt_is_followed(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT)
    before = lab.shown["logits"]
    lab.prompt = "The old man and the"
    assert lab.shown["logits"] != before and lab.shown["nodes"] == [] and lab.shown["root"] == "The old man and the"


def test_one_token_at_a_time_and_back(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.9, max_new_tokens=20)
    for _ in range(3):
        written(lab, "write", node=lab.shown["at"], changes={"max_new_tokens": 1})
    assert lab.text == generate(lm, PROMPT, temperature=0.9, top_k=50, top_p=0.95, max_new_tokens=3)
    ask(lab, "next", node=0)
    assert lab.text == generate(lm, PROMPT, temperature=0.9, top_k=50, top_p=0.95, max_new_tokens=1)
    assert len(lab.shown["nodes"]) == 3, "going back takes nothing away"


def test_a_token_that_was_added_is_continued_and_the_first_text_stays(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.9, max_new_tokens=6)
    first = written(lab, "write")
    place = lab.shown["nodes"][2]
    other, text, probability = next(one for one in place["alternatives"] if one[0] != place["token"])
    content = {"parent": 1, "token": other, "text": text, "probability": probability, "uniform": None, "alternatives": []}
    assert written(lab, "add", node=content) == PROMPT + "".join(node["text"] for node in lab.shown["nodes"][:2]) + text
    assert (lab.shown["at"], lab.shown["nodes"][-1]["depth"]) == (6, 2)
    second = written(lab, "write", node=6, changes={"max_new_tokens": 3})
    assert second != first and [node["parent"] for node in lab.shown["nodes"][6:]] == [1, 6, 7, 8]
    assert lab.shown["nodes"][7]["uniform"] == lab.shown["nodes"][3]["uniform"], "a random number belongs to a depth"
    ask(lab, "next", node=5)
    assert lab.text == first


def test_a_text_beside_the_tree(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=8, seed=2)
    for options in ({"max_new_tokens": 8}, {"num_beams": 4, "max_new_tokens": 8}, {"temperature": 0.7, "top_k": 50, "seed": 2}):
        reply = ask(lab, "decode", options=options)
        assert reply.result["text"] == generate(lm, PROMPT, **options) and reply.error == ""
    assert lab.shown["nodes"] == [] and lab.shown["running"] == "" and "text" not in lab.shown


def test_what_the_view_has_made_is_kept_for_the_other_views(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT)
    reply = ask(lab, "keep", parts={"compared": [["greedy", "a text"]]})
    assert reply.result["compared"] == lab.shown["compared"] == [["greedy", "a text"]]
    assert ask(lab, "names", ids=[0, 5]).result["texts"] == {"0": "<|endoftext|>", "5": lm.tokenizer.decode([5])}


@pytest.mark.parametrize("prompt", ["<b>bold</b><script>alert(1)</script>", "<img src=x onerror=alert(1)> & $x^2$", "</pre><h1>out</h1>"])
def test_a_prompt_is_never_read_as_html(lm: LanguageModel, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    markup = PromptLab(lm, prompt, max_new_tokens=3)._repr_mimebundle_()["text/html"]
    for tag in ("<b>", "<script", "<img", "<h1>"):
        assert tag not in markup
    assert prompt.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in markup


def test_headless_it_gives_only_a_static_form_with_a_text_in_it(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    lab = PromptLab(lm, PROMPT, max_new_tokens=6)
    bundle = lab._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert lab.text in words(bundle["text/html"]).replace("&#x27;", "'").replace("&quot;", '"')
    assert len(lab.text) > len(PROMPT)


def test_live_it_gives_the_view_and_the_static_form(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT)
    data, _ = lab._repr_mimebundle_()
    assert data[VIEW]["model_id"] == lab.model_id
    assert PROMPT in data["text/html"] and not lab.shown["nodes"]


def test_its_plain_text_is_the_same_every_time(lm: LanguageModel) -> None:
    first, second = PromptLab(lm, PROMPT), PromptLab(lm, PROMPT)
    written(second, "write")
    assert repr(first) == repr(second) and "0x" not in repr(first)


def test_the_static_form_shows_the_exact_top_tokens(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.7)
    exact = next_tokens(lm, PROMPT, temperature=0.7, top_k=50, top_p=0.95)
    assert [share for _, share in lab.top_tokens(5)] == pytest.approx(exact.probabilities[:5].tolist(), rel=1e-4)


def test_an_error_is_one_line_and_the_lab_goes_on(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("the <device> is gone\nwith more below")

    with monkeypatch.context() as patch:
        patch.setattr("nbtools.widgets.prompt_lab.continue_ids", refuse)
        assert ask(lab, "write").error == "RuntimeError: the <device> is gone" and lab.shown["running"] == ""
    assert written(lab, "write") == generate(lm, PROMPT, temperature=0.7, top_k=50, top_p=0.95, max_new_tokens=4)


@pytest.mark.parametrize("prompt", ["", "映画は", "🙂 naïve", "word " * 2000])
def test_awkward_prompts_are_continued(lm: LanguageModel, prompt: str) -> None:
    lab = PromptLab(lm, prompt, max_new_tokens=4)
    assert ask(lab, "write").result["notice"] == "done" and lab.text.startswith(prompt)


def test_invalid_values_are_refused(lm: LanguageModel) -> None:
    with pytest.raises(InputError, match="not text"):
        PromptLab(lm, 7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="top_p"):
        PromptLab(lm, PROMPT, top_p=1.5)
    lab = PromptLab(lm, PROMPT)
    assert ask(lab, "next", node=99).error.startswith("There is no token number 99.")
    before = lab.settings
    assert "top_p" in ask(lab, "change", settings={**before, "top_p": 3}).error and lab.settings == before


def test_a_text_is_written_with_the_prompt_and_the_settings_of_the_last_change(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)
    settings = {**lab.settings, "temperature": 0, "max_new_tokens": 2}
    ask(lab, "change", prompt="She was", settings=settings)
    assert written(lab, "write") == generate(lm, "She was", max_new_tokens=2)
    assert lab.settings == settings and lab.prompt == "She was"


def test_a_prompt_that_changes_while_a_text_is_written_leaves_its_tree_alone(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)
    written(lab, "write")
    nodes = lab.shown["nodes"]
    with lab._computing:  # as the thread of a text holds it
        lab.prompt = "She was"
    assert lab.shown["nodes"] is nodes and lab.text.startswith(PROMPT)
    assert written(lab, "write").startswith("She was") and len(lab.shown["nodes"]) == 4
    lab.prompt = "He was"
    assert lab.shown["nodes"] == [] and lab.text == "He was"


def test_a_token_of_an_earlier_prompts_tree_is_not_continued(lm: LanguageModel) -> None:
    """A click on a button can come from a view that does not know yet that the prompt has changed."""
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=4)
    written(lab, "write")
    lab.prompt = "She was"
    assert written(lab, "write", node=3, changes={"max_new_tokens": 1}) == generate(lm, "She was", max_new_tokens=1)
