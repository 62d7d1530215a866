"""The code and commands that views copy, made by their JavaScript in a real browser, then executed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbtools.attention import trace_attention
from nbtools.generation import generate
from nbtools.notebooks import choose_notebooks, read_parameters
from nbtools.widgets.front_end import HERE
from tests.browser.jupyterlab import find_browser, open_page
from tests.small_models import mini

PROMPT = 'It\'s a "test" \\ of\n$(all) `quotes`\u2028; 日本 🎉'
SETTINGS = {"temperature": 0.8, "top_k": 0, "top_p": 1, "min_p": 0.05, "repetition_penalty": 1.1, "max_new_tokens": 6, "seed": 3}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """What a function of code.js returns."""
    source = "\n".join((HERE / f"{name}.js").read_text(encoding="utf8") for name in ("warpers", "code")).replace("export ", "")
    with open_page(find_browser(), tmp_path_factory.mktemp("chromium")) as page:

        def call(name: str, *arguments: Any) -> str:
            code = f"(values) => new Function('values', {json.dumps(source)} + ';return {name}(...values);')(values)"
            return str(page.evaluate(code, arguments))

        yield call


@pytest.mark.slow(6)
def test_what_is_copied_as_python_gives_the_text(written: Callable[..., str]) -> None:
    code = written("generationCode", "mini", PROMPT, SETTINGS)
    assert "top_k" not in code and "min_p=0.05" in code, "what is off is left out"
    ran = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf8", check=True)
    text = generate(mini(), PROMPT, **{name: value for name, value in SETTINGS.items() if name not in {"top_k", "top_p"}})
    assert ran.stdout.rstrip("\n").endswith(text.rstrip("\n"))


def test_strings_are_what_python_reads(written: Callable[..., str]) -> None:
    for text in (PROMPT, "", "'", '"', "'\"", "\x00\x1f\x7f\xad", "\ud800", "\U000e0067", "a\tb\r"):
        assert eval(written("python", text)) == text


def test_the_papermill_command_names_parameters_that_the_notebook_has(written: Callable[..., str]) -> None:
    command = written("generationCommand", "mini", PROMPT, SETTINGS)
    words = shlex.split(command)
    [notebook] = choose_notebooks(["03"])
    names = re.findall(r"-p (\w+) ", command)
    assert {"profile", "short_prompt", "temperature", "min_p", "seed"} <= set(names) <= set(read_parameters(notebook))
    assert words[words.index("short_prompt") + 1] == PROMPT
    assert (Path(__file__).parents[2] / words[1]).is_file()


def test_a_value_is_one_word_of_a_shell(written: Callable[..., str]) -> None:
    values = [["max_steps", "20"], ["prompt", PROMPT], ["model", "runs/my model"], ["empty", ""], ["name", "$HOME;'x'"]]
    words = shlex.split(written("papermillCommand", "04_finetuning", values))
    expected = [word for name, value in values for word in ("-p", name, value)]
    assert words == ["papermill", "notebooks/04_finetuning.ipynb", "out.ipynb", *expected]


@pytest.mark.slow(6)
def test_the_code_of_a_weight_gives_it(written: Callable[..., str]) -> None:
    text = "The sea was calm, and the sea was cold."
    code = written("weightCode", "mini", text, {"layer": 1, "head": 2, "row": 7, "column": 4})
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(ran.stdout.split()[-1]) == pytest.approx(float(trace_attention(mini(), text).weights[1, 2, 7, 4]), rel=1e-4)
