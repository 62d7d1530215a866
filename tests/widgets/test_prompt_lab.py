"""The prompt lab without a browser: messages arrive from Python, as a front end would send them."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbtools import load_model
from nbtools.errors import InputError
from nbtools.generation import generate, next_logits, next_tokens, uniforms
from nbtools.models import LanguageModel
from nbtools.widgets import PromptLab
from tests.gate import HANG_SECONDS
from tests.widgets.front_end import VIEW, say

PROMPT = "The movie was"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("mini", verbose=False)


@pytest.fixture(autouse=True)
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)


def words(markup: str) -> str:
    return re.sub(r"<[^>]*>", " ", markup)


def written(lab: PromptLab, **message: Any) -> str:
    say(lab, **message)
    return lab.wait(HANG_SECONDS)


def test_generate_writes_what_generate_gives(lm: LanguageModel) -> None:
    values: dict[str, Any] = {"temperature": 0.9, "top_k": 20, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.2, "seed": 5}
    lab = PromptLab(lm, PROMPT, max_new_tokens=12, **values)
    assert written(lab, type="generate") == generate(lm, PROMPT, max_new_tokens=12, **values)
    assert lab.line == "done" and not lab.writing and lab.problem == ""


def test_temperature_zero_is_greedy_whatever_the_other_knobs_say(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, top_k=3, min_p=0.4, max_new_tokens=8, seed=9)
    assert written(lab, type="generate") == generate(lm, PROMPT, max_new_tokens=8)


def test_a_changed_seed_changes_the_text_and_the_old_seed_brings_it_back(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=1.0, max_new_tokens=12)
    texts = []
    for seed in (0, 1, 0):
        lab.settings = {**lab.settings, "seed": seed}
        texts.append(written(lab, type="generate"))
    assert texts[0] == texts[2] != texts[1]


def test_the_text_grows_while_it_is_written_and_stop_ends_it(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=400)
    seen: list[str] = []

    def watch(change: Any) -> None:
        seen.append(lab.text)
        if len(seen) == 5:
            say(lab, type="stop")

    lab.observe(watch, names="at")
    text = written(lab, type="generate")
    assert not lab.running and lab.line == "stopped"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert text.startswith(PROMPT) and len(lm.tokenizer(text)["input_ids"]) < 20


def test_a_second_generate_while_one_runs_starts_nothing(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=200)
    lab.start()
    thread = lab._thread
    lab.start()
    assert lab._thread is thread
    lab.stop()
    lab.wait(HANG_SECONDS)


def test_the_browser_gets_all_logits_of_the_place_where_the_lab_stands(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=3)
    assert np.allclose(np.frombuffer(lab.logits, np.float32), next_logits(lm, PROMPT).numpy(), atol=1e-4)
    text = written(lab, type="generate")
    assert np.allclose(np.frombuffer(lab.logits, np.float32), next_logits(lm, text).numpy(), atol=1e-3)
    assert lab.looking["depth"] == 3 and lab.dice[:4] == uniforms(0, 4)


def test_the_prompt_is_followed(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT)
    before = lab.logits
    lab.prompt = "The old man and the"
    assert lab.logits != before and lab.nodes == [] and lab.root == "The old man and the"


def test_one_token_at_a_time_and_back(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.9, max_new_tokens=20)
    for _ in range(3):
        written(lab, type="step", node=lab.at)
    assert lab.text == generate(lm, PROMPT, temperature=0.9, top_k=50, top_p=0.95, max_new_tokens=3)
    say(lab, type="visit", node=0)
    assert lab.text == generate(lm, PROMPT, temperature=0.9, top_k=50, top_p=0.95, max_new_tokens=1)
    assert len(lab.nodes) == 3, "going back takes nothing away"


def test_another_token_begins_a_branch_and_the_first_stays(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.9, max_new_tokens=6)
    first = written(lab, type="generate")
    place = lab.nodes[2]
    other = next(token for token, _, _ in place["alternatives"] if token != place["token"])
    second = written(lab, type="fork", node=2, token=other)
    assert second != first and len(lm.tokenizer(second)["input_ids"]) <= len(lm.tokenizer(PROMPT)["input_ids"]) + 6
    say(lab, type="visit", node=5)
    assert lab.text == first


def test_the_same_dice_at_another_temperature(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.5, top_k=0, top_p=1.0, max_new_tokens=15)
    written(lab, type="generate")
    written(lab, type="replay", temperature=1.5)
    found = lab.replayed
    assert PROMPT + "".join(found["first"]) == generate(lm, PROMPT, temperature=0.5, max_new_tokens=15)
    assert PROMPT + "".join(found["tokens"]) == generate(lm, PROMPT, temperature=1.5, max_new_tokens=15)
    parting = found["parting"]
    assert found["first"][:parting] == found["tokens"][:parting] and found["first"][parting] != found["tokens"][parting]


def test_three_ways_side_by_side(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=8, seed=2)
    written(lab, type="compare")
    rows = dict(lab.compared)
    assert rows["greedy"] == generate(lm, PROMPT, max_new_tokens=8)
    assert rows["beam search, 4 beams"] == generate(lm, PROMPT, max_new_tokens=8, num_beams=4)
    assert generate(lm, PROMPT, max_new_tokens=8, seed=2, temperature=0.7, top_k=50, top_p=0.95) in rows.values()


@pytest.mark.slow(6)
def test_what_is_copied_as_python_gives_the_text(lm: LanguageModel) -> None:
    lab = PromptLab(lm, 'It\'s a "test"', temperature=0.8, repetition_penalty=1.1, max_new_tokens=6, seed=3)
    text = written(lab, type="generate")
    ran = subprocess.run([sys.executable, "-c", lab.python], capture_output=True, text=True, check=True)
    assert ran.stdout.rstrip("\n").endswith(text.rstrip("\n"))


def test_the_papermill_command_names_parameters_that_the_notebook_has(lm: LanguageModel) -> None:
    from nbtools.notebooks import choose_notebooks, read_parameters

    lab = PromptLab(lm, "two words; $(and) 'quotes'", temperature=0.8, min_p=0.05)
    [notebook] = choose_notebooks(["03"])
    names = re.findall(r"-p (\w+) ", lab.command)
    assert {"profile", "short_prompt", "temperature", "min_p", "seed"} <= set(names) <= set(read_parameters(notebook))
    import shlex

    parts = shlex.split(lab.command)
    assert parts[parts.index("short_prompt") + 1] == "two words; $(and) 'quotes'"
    assert (Path(__file__).parents[2] / parts[1]).is_file()


@pytest.mark.parametrize("prompt", ["<b>bold</b><script>alert(1)</script>", "<img src=x onerror=alert(1)> & $x^2$", "</pre><h1>out</h1>"])
def test_a_prompt_is_never_read_as_html(lm: LanguageModel, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    still = PromptLab(lm, prompt, max_new_tokens=3)._repr_mimebundle_()["text/html"]
    for tag in ("<b>", "<script", "<img", "<h1>"):
        assert tag not in still
    assert prompt.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in still


def test_headless_it_gives_a_still_form_only_with_a_text_in_it(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    lab = PromptLab(lm, PROMPT, max_new_tokens=6)
    bundle = lab._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert lab.text in words(bundle["text/html"]).replace("&#x27;", "'").replace("&quot;", '"')
    assert len(lab.text) > len(PROMPT)


def test_live_it_gives_the_view_and_the_still_form(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT)
    data, _ = lab._repr_mimebundle_()
    assert data[VIEW]["model_id"] == lab.model_id
    assert PROMPT in data["text/html"] and not lab.nodes


def test_its_plain_text_is_the_same_every_time(lm: LanguageModel) -> None:
    first, second = PromptLab(lm, PROMPT), PromptLab(lm, PROMPT)
    written(second, type="generate")
    assert repr(first) == repr(second) and "0x" not in repr(first)


def test_the_still_form_shows_the_exact_leaders(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, temperature=0.7)
    exact = next_tokens(lm, PROMPT, temperature=0.7, top_k=50, top_p=0.95)
    assert [share for _, share in lab.leading(5)] == pytest.approx(exact.probabilities[:5].tolist(), rel=1e-4)


def test_an_error_is_one_line_and_the_lab_goes_on(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("the <device> is gone\nwith more below")

    with monkeypatch.context() as patch:
        patch.setattr("nbtools.generation.tree.TextTree.grow", refuse)
        written(lab, type="generate")
    assert lab.problem == "RuntimeError: the <device> is gone" and not lab.writing
    assert written(lab, type="generate") == generate(lm, PROMPT, temperature=0.7, top_k=50, top_p=0.95, max_new_tokens=4)
    assert lab.problem == ""


@pytest.mark.parametrize("prompt", ["", "映画は", "🙂 naïve", "word " * 2000])
def test_awkward_prompts_are_written_on(lm: LanguageModel, prompt: str) -> None:
    lab = PromptLab(lm, prompt, max_new_tokens=4)
    assert written(lab, type="generate").startswith(prompt)
    assert lab.line == "done" and lab.problem == ""


def test_what_cannot_be_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(InputError, match="not text"):
        PromptLab(lm, 7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="top_p"):
        PromptLab(lm, PROMPT, top_p=1.5)
    lab = PromptLab(lm, PROMPT)
    say(lab, type="visit", node=99)
    assert lab.problem.startswith("There is no token number 99.")
    say(lab, type="explode")
    assert "cannot 'explode'" in lab.problem


def test_a_question_carries_its_settings_for_their_own_update_may_come_later(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)
    settings = {**lab.settings, "temperature": 0, "max_new_tokens": 2}
    assert written(lab, type="generate", prompt="She was", settings=settings) == generate(lm, "She was", max_new_tokens=2)
    assert lab.settings == settings and lab.prompt == "She was"


def test_a_prompt_that_changes_while_a_text_is_written_leaves_its_tree_alone(lm: LanguageModel) -> None:
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)
    tree = lab._tree
    with lab._computing:  # as the thread of a text holds it
        lab.prompt = "She was"
    assert lab._tree is tree and lab.problem == ""
    assert written(lab, type="generate").startswith("She was") and len(lab.nodes) == 4
    tree = lab._tree
    lab.prompt = "He was"
    assert lab._tree is not tree and lab.text == "He was"
