"""Try invalid values on every parameter of every public function and command: `python -m tests.bad_values --write` updates the page.

A function must return or raise a CourseError; a command must end with exit code 0, or with another one and two lines. Work that takes long
is stopped where it begins (a training at its first step), which counts as accepted: the value came through every check before it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import nbtools
from nbtools.errors import CourseError

ROOT = Path(nbtools.__file__).parent.parent
PAGE = ROOT / "docs" / "bad_values.md"
HEAD = """# Bad values, and what becomes of them

Every public function and every command, each parameter tried with kinds of values that it was not made for. *Accepted* means that the
call went on as documented; *refused* means two lines, what is wrong and what to do, and nothing done. A test holds this page to the code;
`python -m tests.bad_values --write` renews it.
"""


class Begun(BaseException):
    """Raised when the work begins, after all checks have passed."""


def begin(*arguments: Any, **options: Any) -> Any:
    raise Begun


# The kinds of values, created for every call in a new folder.
KINDS: dict[str, Callable[[Path], Any]] = {
    "None": lambda folder: None,
    "True": lambda folder: True,
    "text": lambda folder: "no such thing",
    "empty text": lambda folder: "",
    "NaN": lambda folder: math.nan,
    "infinity": lambda folder: math.inf,
    "negative": lambda folder: -1,
    "zero": lambda folder: 0,
    "fraction": lambda folder: 2.5,
    "huge": lambda folder: 10**30,
    "empty list": lambda folder: [],
    "list of None": lambda folder: [None],
    "mapping": lambda folder: {"a": 1},
    "folder": lambda folder: ".",  # the working folder; short, because some of these functions take it for a text of few tokens
    "file": lambda folder: "file.txt",
    "unwritable": lambda folder: "/proc/no/such",
    "home": lambda folder: "~",
}
# What the commands are given as text.
WORDS = {
    "empty": "", "word": "no-such-thing", "NaN": "nan", "negative": "-1", "zero": "0", "huge": "1" + "0" * 30, "folder": ".",
    "file": "file.txt", "unwritable": "/proc/no/such", "home": "~", "option-like": "--no-such-option",
}  # fmt: skip


def public_names() -> list[str]:
    """`nbtools.__all__`, and what the course's notebooks import from the sub-packages, as dotted names."""
    found = {f"nbtools.{name}" for name in nbtools.__all__}
    home = {f"nbtools.{room}.{name}" for name, room in nbtools._HOME.items()}
    for file in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and "from nbtools." in source and not source.lstrip().startswith("%"):
                for node in ast.walk(ast.parse(source)):
                    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nbtools."):
                        found |= {f"{node.module}.{alias.name}" for alias in node.names} - home
    return sorted(name for name in found if callable(look_up(name)))


def look_up(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def outcome(call: Callable[[], Any]) -> str:
    """ "accepted", "refused", or what else came, in a few words."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            made = call()
            if isinstance(made, Iterator):
                next(made, None)
    except Begun:
        return "accepted"
    except CourseError as error:
        return "refused" if "\n" not in error.problem + error.remedy else "a refusal of more than two lines"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {str(error)[:80]}".splitlines()[0]
    return "accepted"


def tries(name: str, good: dict[str, Any], folder: Path) -> Iterator[tuple[str, str, str]]:
    """(parameter, kind, outcome) for each parameter of a function whose kind is a plain value."""
    function = look_up(name)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in OBJECTS:
            continue
        words = str(parameter.annotation)
        for kind, make in KINDS.items():
            if kind in ("folder", "file", "unwritable", "home") and not any(word in words for word in ("str", "Path", "Any")):
                continue
            if (name, parameter.name, kind) in ENDLESS:
                continue
            with fresh(folder) as place:
                values = {key: value(place) if callable(value) and key in PLACES else value for key, value in good.items()}
                values[parameter.name] = make(place)
                yield parameter.name, kind, outcome(lambda values=values: function(**values))
    for misspelt in MISSPELT.get(name, ()):
        with fresh(folder) as place:
            values = {key: value(place) if callable(value) and key in PLACES else value for key, value in good.items()}
            yield misspelt, "misspelt", outcome(lambda values=values, misspelt=misspelt: function(**values, **{misspelt: 1}))


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A folder for one call: the working folder, the home folder, and where runs go."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        (place / "progress.json").write_text('{"schema": 1, "exercises": {}}')
        (place / "plan.yaml").write_text("notebook: '04'\n")
        (place / "file.txt").write_text("A film that is long enough to be read.\n\nAnother one, which is just as long.\n")
        (place / "texts.txt").write_text("".join(f"A sentence about a day in town, number {number}.\n" for number in range(20)))
        with mock.patch.dict(os.environ, {"HOME": name, "NBTOOLS_RUNS": str(place / "runs")}):
            os.chdir(place)
            try:
                yield place
            finally:
                os.chdir(before)


PLACES = {"folder", "out", "output_dir", "source", "path"}
OBJECTS = {  # what another call of the course returns: passed on, never typed
    "lm", "loaded", "base",
    "tuned", "train", "validation", "test", "part", "packed", "reviews", "before", "after", "X", "matrices", "biases",
    "mask", "ours", "theirs", "table", "tokenizer", "callbacks", "draw", "on_text", "should_stop", "choices", "answer", "found", "pairs",
    "held_out", "samples", "executor", "scoring", "process", "log_file",
}  # fmt: skip
ENDLESS = {  # known gaps that would take all time or memory, and are not tried until they are closed
    ("nbtools.generate", "num_samples", "huge"), ("nbtools.generate", "num_samples", "infinity"),
}  # fmt: skip
MISSPELT = {
    "nbtools.generate": ["temprature"],
    "nbtools.stream": ["top_K"],
    "nbtools.generation.next_tokens": ["topp"],
    "nbtools.compare.sample_pairs": ["max_tokens"],
    "nbtools.pitfalls.Pitfalls": ["batchsize"],
}
UNTRIED = {  # public names that are not walked, each with its reason
    "nbtools.AttentionTrace": "a result", "nbtools.Estimate": "a result", "nbtools.LanguageModel": "a result",
    "nbtools.CourseError": "an error", "nbtools.errors.CourseError": "an error", "nbtools.errors.InputError": "an error",
    "nbtools.write_metrics": "takes results only", "nbtools.TokenInspector": "its block is chosen by a control",
    "nbtools.tasks.zero_shot": "scores a data set", "nbtools.tasks.last_tokens": "takes data sets only",
    "nbtools.tasks.Classified": "a result",
    "nbtools.tasks.train_classifier": "trains from its first line on", "nbtools.tasks.train_rewriter": "trains from its first line on",
    "nbtools.tuned_model": "trains where there is no tuned model",
    "nbtools.Microscope": "its values are those of PromptLab",
    "nbtools.doctor": "its one parameter names an environment variable, and it takes seconds",
}  # fmt: skip


def good_arguments() -> dict[str, dict[str, Any]]:
    """For each function that is walked, arguments with which it works."""
    from tests.small_models import tiny

    lm = tiny()
    packed = nbtools.pack(["A film that I liked very much. " * 20], lm, 16)
    short = {"lm": lm, "max_new_tokens": 1}
    training = {"lm": lm, "train": packed, "output_dir": lambda place: place / "made", "max_steps": 2, "dtype": "float32", "compile": False}
    import pandas
    import torch

    square = torch.ones(4, 8)
    runs = pandas.DataFrame({"state": ["done"], "rate": [1.0], "value": [2.0]})
    return {
        "nbtools.AttentionExplorer": {"lm": lm, "text": "A film."},
        "nbtools.ParameterForm": {"notebook": "04"},
        "nbtools.PromptLab": {"lm": lm, "prompt": "A film"},
        "nbtools.TrainingMonitor": {"output_dir": lambda place: place / "made"},
        "nbtools.check": {"exercise_id": "00-memory", "answer": 3},
        "nbtools.hint": {"exercise_id": "00-memory"},
        "nbtools.estimate": training,
        "nbtools.finetune": training,
        "nbtools.evaluate": {"lm": lm, "texts": ["A film."]},
        "nbtools.generate": {**short, "prompts": "A film"},
        "nbtools.stream": {**short, "prompt": "A film"},
        "nbtools.load_model": {"name": "mini", "verbose": False},
        "nbtools.load_reviews": {"source": "package"},
        "nbtools.pack": {"part": ["A film. " * 9], "lm": lm, "block_size": 8},
        "nbtools.save_model": {"loaded": lm, "folder": lambda place: place / "made"},
        "nbtools.sweep": {"plan": {"notebook": "04"}, "out": lambda place: place / "made"},
        "nbtools.trace_attention": {"lm": lm, "text": "A film."},
        "nbtools.attention.measure_cost": {"lengths": [4], "width": 8, "d_k": 4, "rounds": 1},
        "nbtools.attention.merge_heads": {"X": torch.ones(2, 4, 4)},
        "nbtools.attention.multi_head": {"X": square, "matrices": [torch.ones(8, 8)] * 4, "heads": 2},
        "nbtools.attention.relative_difference": {"ours": square, "theirs": square},
        "nbtools.attention.sinusoidal_positions": {"count": 2, "width": 4},
        "nbtools.attention.split_heads": {"X": square, "heads": 2},
        "nbtools.compare.attention_shift": {"base": lm, "tuned": lm, "text": "A film."},
        "nbtools.compare.top_gains": {"base": lm, "tuned": lm, "prompt": "A film"},
        "nbtools.compare.sample_pairs": {"base": lm, "tuned": lm, "prompts": ["A film"], "max_new_tokens": 1},
        "nbtools.data.describe_personal_data": {"found": []},
        "nbtools.data.examine_texts": {"texts": ["A film."], "lm": lm},
        "nbtools.data.find_personal_data": {"texts": ["A film."]},
        "nbtools.data.load_texts": {"source": lambda place: str(place / "texts.txt")},
        "nbtools.data.tokenize": {"texts": ["A film."], "lm": lm},
        "nbtools.data.examples.write_example": {"folder": lambda place: place / "made", "count": 2},
        "nbtools.evaluation.copied_spans": {"text": "A film " * 9, "corpus": ["A film " * 9]},
        "nbtools.generation.decoder_name": {"lm": lm},
        "nbtools.generation.next_logits": {"lm": lm, "prompt": "A film"},
        "nbtools.generation.next_tokens": {"lm": lm, "prompt": "A film"},
        "nbtools.models.inspect_model": {"name": "mini"},
        "nbtools.models.locate": {"name": "mini"},
        "nbtools.models.parameter_table": {"loaded": lm},
        "nbtools.notebooks.box": {"name": "00_setup"},
        "nbtools.notebooks.recorded": {"notebook": "04_finetuning"},
        "nbtools.profiles.choose_profile": {"name": "mini"},
        "nbtools.notebooks.expected": {"name": next(iter(look_up("nbtools.notebooks.read_expected")())), "value": 1.0},
        "nbtools.pitfalls.Pitfalls": {},
        "nbtools.profiles.get_profile": {"name": "mini"},
        "nbtools.report.show_page": {"folder": lambda place: place / "made"},
        "nbtools.runs.by_combination": {"table": runs, "varied": ["rate"], "better": "lower"},
        "nbtools.runs.read_plan": {"source": {"notebook": "04"}},
        "nbtools.storage.cache_folder": {},
        "nbtools.storage.runs_folder": {},
        "nbtools.system.available_memory": {},
        "nbtools.system.hub_token_source": {},
        "nbtools.system.seed_everything": {"seed": 0},
        "nbtools.tasks.instruct": {"lm": lm, "instruction": "Write.", "max_new_tokens": 1},
        "nbtools.tasks.make_dates": {"count": 1},
        "nbtools.tasks.score_texts": {"texts": ["a"], "references": ["a"]},
        "nbtools.tokens.id_texts": {"tokenizer": lm.tokenizer, "ids": [1]},
        "nbtools.tokens.token_texts": {"tokenizer": lm.tokenizer, "text": "A film"},
        "nbtools.tokens.visible": {"text": "A film"},
        "nbtools.training.write_card": {"folder": lambda place: place / "made"},
    }


@contextlib.contextmanager
def no_long_work() -> Iterator[None]:
    import torch
    import transformers

    import nbtools.data.reviews as reviews

    with (
        mock.patch.object(transformers.Trainer, "train", begin),
        mock.patch.object(torch.Tensor, "backward", begin),
        mock.patch.object(reviews, "_read_facts", begin),
        mock.patch("nbtools.runs.sweeps.run_sweep", begin),
        mock.patch("nbtools.cli.sweep._run_sweep", begin),
        mock.patch("nbtools.runs.run_notebooks", begin),
        mock.patch("nbtools.runs.refresh_notebooks", begin),
        mock.patch("nbtools.models.smollm2.fetch", begin),
        mock.patch("nbtools.health.doctor", begin),
        mock.patch("tools.bundle.making.WheelPool", begin),
        mock.patch("nbtools.bundle.doctor_offline", begin),
        mock.patch("nbtools.site.pages.tuned_model", begin),
    ):
        yield


def command_tries(name: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """(argument or option, word, outcome) for each of a command's."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from nbtools.cli import app

    base = COMMANDS[name]
    for parameter in get_command(app).commands[name].params:  # type: ignore[attr-defined]
        option = parameter.opts[-1] if parameter.param_type_name == "option" else ""
        if option == "--help" or getattr(parameter, "is_flag", False):
            continue
        for kind, word in WORDS.items():
            given = [option, f"max_steps={word}" if option == "-p" else f"x={word}" if option == "--need" else word] if option else [word]
            kept = [one for one in base.get("options", []) if one[0] != option]
            arguments = [name, *(base.get("arguments", []) if option else []), *(part for pair in kept for part in pair), *given]
            with fresh(folder):
                yield option or parameter.name or "", kind, command_outcome(lambda arguments=arguments: CliRunner().invoke(app, arguments))


def command_outcome(call: Callable[[], Any]) -> str:
    try:
        done = call()
    except Begun:
        return "accepted"
    if done.exit_code == 0:
        return "accepted"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"{type(done.exception).__name__}: {str(done.exception)[:80]}".splitlines()[0]
    if "is not a progress file" in " ".join(done.stdout.split()):  # a note beside the table
        return "refused"
    lines = done.stderr.strip().splitlines()
    return "refused" if done.exit_code == 2 or (len(lines) == 2 and lines[1].startswith("  -> ")) else f"{len(lines)} lines: {lines[:1]}"


COMMANDS: dict[str, dict[str, Any]] = {  # with which each command works
    "doctor": {},
    "fetch": {"arguments": ["smollm2"]},
    "run": {"arguments": ["04"], "options": [("--out", "made")]},
    "refresh": {"arguments": ["04"]},
    "sweep": {"arguments": ["plan.yaml"], "options": [("--out", "made")]},
    "report": {},
    "progress": {"arguments": ["progress.json"]},
    "solve": {"arguments": ["01"], "options": [("--out", "made.ipynb")]},
    "site": {"options": [("--out", "made")]},
    "bundle": {"options": [("--out", "made")]},
}


def section(name: str, folder: Path) -> str:
    """The page's part about one function or command."""
    found: dict[str, dict[str, list[str]]] = {}
    with no_long_work():
        every = command_tries(name, folder) if name in COMMANDS else tries(name, good_arguments()[name], folder)
        for parameter, kind, came in every:
            sort = came if came in ("accepted", "refused") else "fails"
            found.setdefault(parameter, {}).setdefault(sort, []).append(kind)
    title = f"`nbtools {name}`" if name in COMMANDS else f"`{name}`"
    rows = [
        f"| `{parameter}` | {', '.join(by.get('accepted', [])) or '–'} | {', '.join(by.get('refused', [])) or '–'} |"
        + (f" {', '.join(by['fails'])} |" if "fails" in by else " |")
        for parameter, by in found.items()
    ]
    table = ["| parameter | accepted | refused | known gap |", "| --- | --- | --- | --- |", *rows] if rows else ["It takes nothing to try."]
    return "\n".join([f"## {title}", "", *table]) + "\n"


def failures(part: str) -> list[str]:
    """The parameters in a section that have something in the column of gaps."""
    rows = [line.split("|") for line in part.splitlines() if line.startswith("| `")]
    return [row[1].strip(" `") for row in rows if row[4].strip()]


def sections(page: str) -> dict[str, str]:
    parts = page.split("\n## ")[1:]
    return {part.partition("`\n")[0].strip("`").removeprefix("nbtools ").strip(): f"## {part.rstrip()}\n" for part in parts}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        chosen = [name for name in [*COMMANDS, *good_arguments()] if len(sys.argv) < 3 or sys.argv[2] in name]
        made = sections(PAGE.read_text(encoding="utf8")) if PAGE.is_file() and len(sys.argv) > 2 else {}
        for name in chosen:
            made[name] = section(name, Path(temporary))
            print(name, *(f"\n  {line}" for line in failures(made[name])))
        if "--write" in sys.argv:
            order = [name for name in [*COMMANDS, *good_arguments()] if name in made]
            PAGE.write_text("\n".join([HEAD, *(made[name] for name in order)]), encoding="utf8")
