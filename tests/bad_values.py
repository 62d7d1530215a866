"""Try kinds of bad values on every parameter of every public function and command: `python -m tests.bad_values --write` renews the page.

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


class Begun(BaseException):  # noqa: N818  (no error)
    """The work began: every check before it was passed."""


def begin(*arguments: Any, **options: Any) -> Any:
    raise Begun


# The kinds, each made anew for every call, in a folder of its own.
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
    "folder": lambda folder: str(folder),
    "file": lambda folder: str(folder / "file.txt"),
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
        for kind, make in KINDS.items():
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
        (place / "file.txt").write_text("A film that is long enough to be read.\n\nAnother one, which is just as long.\n")
        with mock.patch.dict(os.environ, {"HOME": name, "NBTOOLS_RUNS": str(place / "runs")}):
            os.chdir(place)
            try:
                yield place
            finally:
                os.chdir(before)


PLACES = {"folder", "out", "output_dir", "source", "path"}
OBJECTS = {  # what another call of the course returns: passed on, never typed
    "lm", "loaded", "base", "tuned", "train", "validation", "test", "part", "packed", "reviews", "before", "after", "X", "matrices", "biases",
    "mask", "ours", "theirs", "table", "tokenizer", "callbacks", "draw", "on_text", "should_stop", "choices", "answer", "found", "pairs",
    "held_out", "samples", "executor", "scoring", "process",
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
    "nbtools.tasks.zero_shot": "scores a data set", "nbtools.tasks.bag_of_words": "takes data sets only",
    "nbtools.tasks.train_classifier": "trains from its first line on", "nbtools.tasks.train_rewriter": "trains from its first line on",
    "nbtools.tuned_model": "trains where there is no tuned model",
    "nbtools.doctor": "its one parameter names an environment variable, and it takes seconds",
}  # fmt: skip


def good_arguments() -> dict[str, dict[str, Any]]:
    """For each function that is walked, arguments with which it works."""
    from tests.models_at_hand import tiny

    lm = tiny()
    packed = nbtools.pack(["A film that I liked very much. " * 20], lm, 16)
    short = {"lm": lm, "max_new_tokens": 1}
    training = {"lm": lm, "train": packed, "output_dir": lambda place: place / "made", "max_steps": 2, "dtype": "float32", "compile": False}
    import torch

    square = torch.ones(4, 8)
    return {
        "nbtools.AttentionExplorer": {"lm": lm, "text": "A film."},
        "nbtools.Microscope": {"base": lm, "tuned": lm, "prompt": "A film", "max_new_tokens": 1},
        "nbtools.ParameterForm": {"notebook": "04"},
        "nbtools.PromptLab": {"lm": lm, "prompt": "A film"},
        "nbtools.TrainingMonitor": {"output_dir": lambda place: place / "made"},
        "nbtools.check": {"exercise_id": "00-none", "answer": 3},
        "nbtools.hint": {"exercise_id": "00-none"},
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
        "nbtools.compare.likelier": {"base": lm, "tuned": lm, "prompt": "A film"},
        "nbtools.compare.sample_pairs": {"base": lm, "tuned": lm, "prompts": ["A film"], "max_new_tokens": 1},
        "nbtools.data.describe_personal_data": {"found": []},
        "nbtools.data.examine_texts": {"texts": ["A film."], "lm": lm},
        "nbtools.data.find_personal_data": {"texts": ["A film."]},
        "nbtools.data.load_texts": {"source": lambda place: str(place / "file.txt")},
        "nbtools.data.tokenize": {"texts": ["A film."], "lm": lm},
        "nbtools.data.examples.write_bad_files": {"folder": lambda place: place / "made"},
        "nbtools.data.examples.write_example": {"path": lambda place: place / "made.csv"},
        "nbtools.evaluation.copied_spans": {"text": "A film " * 9, "corpus": ["A film " * 9]},
        "nbtools.generation.decoder_name": {"lm": lm},
        "nbtools.generation.next_logits": {"lm": lm, "prompt": "A film"},
        "nbtools.generation.next_tokens": {"lm": lm, "prompt": "A film"},
        "nbtools.models.inspect_model": {"name": "mini"},
        "nbtools.models.parameter_table": {"loaded": lm},
        "nbtools.notebooks.box": {"name": "00_setup"},
        "nbtools.notebooks.expected": {"name": next(iter(look_up("nbtools.notebooks.read_expected")())), "value": 1.0},
        "nbtools.pitfalls.Pitfalls": {},
        "nbtools.profiles.get_profile": {"name": "mini"},
        "nbtools.report.show_page": {"folder": lambda place: place / "made"},
        "nbtools.runtime.available_memory": {},
        "nbtools.runtime.cache_folder": {},
        "nbtools.runtime.hub_token_source": {},
        "nbtools.runtime.runs_folder": {},
        "nbtools.runtime.seed_everything": {"seed": 0},
        "nbtools.sweeps.by_combination": {"table": None, "varied": [], "better": "lower"},
        "nbtools.sweeps.read_plan": {"source": {"notebook": "04"}},
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
    import nbtools.sweeps as sweeps

    with (
        mock.patch.object(transformers.Trainer, "train", begin),
        mock.patch.object(torch.Tensor, "backward", begin),
        mock.patch.object(reviews, "_prepare", begin),
        mock.patch.object(sweeps, "run_sweep", begin),
    ):
        yield


def walk(folder: Path, only: str = "") -> dict[tuple[str, str], dict[str, str]]:
    """(function, parameter) -> kind -> outcome."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    with no_long_work():
        for name, good in good_arguments().items():
            if only in name:
                for parameter, kind, came in tries(name, good, folder):
                    found.setdefault((name, parameter), {})[kind] = came
    return found


if __name__ == "__main__":
    import signal
    import time
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("long")))
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    with tempfile.TemporaryDirectory() as folder, no_long_work():
        for name, good in good_arguments().items():
            if only in name:
                t=time.time()
                g = tries(name, good, Path(folder))
                while True:
                    signal.alarm(15)
                    try: p,k,c = next(g)
                    except StopIteration: break
                    finally: signal.alarm(0)
                    if c not in ("accepted","refused"): print(name,p,k,c, flush=True)
                print("==",name,round(time.time()-t,1),flush=True)
