"""The prompt lab without a browser: its buttons are clicked from Python, as a front end would."""

from __future__ import annotations

import itertools
import re

import pytest

from nbtools import load_model
from nbtools.errors import InputError
from nbtools.generation import generate
from nbtools.widgets import PromptLab

VIEW = "application/vnd.jupyter.widget-view+json"
PROMPT = "The movie was"


@pytest.fixture(scope="module")
def lm():
    return load_model("mini", verbose=False)


@pytest.fixture(autouse=True)
def live(monkeypatch):
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)


def _words(markup: str) -> str:
    return re.sub(r"<[^>]*>", " ", markup)


def test_generate_writes_what_generate_gives(lm):
    lab = PromptLab(lm, PROMPT, temperature=0.9, top_k=20, top_p=0.8, max_new_tokens=12, seed=5)
    lab.generate_button.click()
    assert lab.wait(60) == generate(lm, PROMPT, temperature=0.9, top_k=20, top_p=0.8, max_new_tokens=12, seed=5)
    assert "done" in lab.status.value
    assert (lab.generate_button.disabled, lab.stop_button.disabled) == (False, True)


def test_temperature_zero_is_greedy_whatever_the_other_knobs_say(lm):
    lab = PromptLab(lm, PROMPT, temperature=0, top_k=3, min_p=0.4, max_new_tokens=8, seed=9)
    lab.start()
    assert lab.wait(60) == generate(lm, PROMPT, max_new_tokens=8)


def test_a_changed_seed_changes_the_text_and_the_old_seed_brings_it_back(lm):
    lab = PromptLab(lm, PROMPT, temperature=1.0, max_new_tokens=12)
    texts = []
    for seed in (0, 1, 0):
        lab.knobs["seed"].value = seed
        lab.start()
        texts.append(lab.wait(60))
    assert texts[0] == texts[2] != texts[1]


def test_the_text_grows_while_it_is_written_and_stop_ends_it(lm):
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=400)
    seen = []

    def watch(change):
        seen.append(change["new"])
        if len(seen) == 5:
            lab.stop_button.click()

    lab.output.observe(watch, names="value")
    lab.start()
    text = lab.wait(120)
    assert not lab.running
    assert "stopped" in lab.status.value
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen))
    assert text.startswith(PROMPT)
    assert len(lm.tokenizer(text)["input_ids"]) < 20


def test_a_second_generate_while_one_runs_starts_nothing(lm):
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=200)
    lab.start()
    thread = lab._thread
    lab.start()
    assert lab._thread is thread
    lab.stop()
    lab.wait(60)


def test_after_a_stop_it_can_generate_again(lm):
    lab = PromptLab(lm, PROMPT, temperature=0, max_new_tokens=5)
    lab.stop()
    lab.start()
    assert lab.wait(60) == generate(lm, PROMPT, max_new_tokens=5)


def test_the_leaders_follow_the_prompt_and_the_knobs(lm):
    lab = PromptLab(lm, PROMPT, temperature=1, top_k=0, top_p=1.0)
    free = lab.leaders.value
    lab.knobs["top_k"].value = 1
    assert "100.0%" in lab.leaders.value
    assert lab.leaders.value.count("<tr>") == 2  # headings and one token
    lab.knobs["top_k"].value = 0
    assert lab.leaders.value == free
    lab.prompt.value = "The old man and the"
    assert lab.leaders.value != free


@pytest.mark.parametrize("prompt", ["<b>bold</b><script>alert(1)</script>", "<img src=x onerror=alert(1)> & $x^2$", "</pre><h1>out</h1>"])
def test_a_prompt_is_never_read_as_html(lm, prompt, monkeypatch):
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    lab = PromptLab(lm, prompt, max_new_tokens=3)
    still = lab._repr_mimebundle_()["text/html"]
    for tag in ("<b>", "<script", "<img", "<h1>"):
        assert tag not in still + lab.leaders.value + lab.status.value
    assert prompt.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in still


def test_headless_it_gives_a_still_form_only_with_a_text_in_it(lm, monkeypatch):
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    lab = PromptLab(lm, PROMPT, max_new_tokens=6)
    bundle = lab._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert lab.text in _words(bundle["text/html"]).replace("&#x27;", "'").replace("&quot;", '"')
    assert len(lab.text) > len(PROMPT)


def test_live_it_gives_the_view_and_the_still_form(lm):
    lab = PromptLab(lm, PROMPT)
    bundle = lab._repr_mimebundle_()
    assert bundle[VIEW]["model_id"] == lab.view.model_id
    assert PROMPT in bundle["text/html"]
    assert lab.text == ""


def test_its_plain_text_is_the_same_every_time(lm):
    first, second = PromptLab(lm, PROMPT), PromptLab(lm, PROMPT)
    second.start()
    second.wait(60)
    assert repr(first) == repr(second)
    assert "0x" not in repr(first)


def test_an_error_is_one_line_and_the_lab_goes_on(lm, monkeypatch):
    lab = PromptLab(lm, PROMPT, max_new_tokens=4)

    def refuse(*arguments, **keywords):
        raise RuntimeError("the <device> is gone\nwith more below")

    with monkeypatch.context() as patch:
        patch.setattr("nbtools.widgets.prompt_lab.generate", refuse)
        lab.start()
        lab.wait(60)
    assert _words(lab.status.value).strip() == "RuntimeError: the &lt;device&gt; is gone"
    assert not lab.generate_button.disabled
    lab.start()
    assert lab.wait(60) == generate(lm, PROMPT, temperature=0.7, top_k=50, top_p=0.95, max_new_tokens=4)


@pytest.mark.parametrize("prompt", ["", "映画は", "🙂 naïve", "word " * 2000])
def test_awkward_prompts_are_written_on(lm, prompt):
    lab = PromptLab(lm, prompt, max_new_tokens=4)
    lab.start()
    assert lab.wait(60).startswith(prompt)
    assert "done" in lab.status.value


def test_a_prompt_that_is_not_text_is_refused(lm):
    with pytest.raises(InputError, match="not text"):
        PromptLab(lm, 7)
