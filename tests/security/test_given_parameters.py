"""Hostile parameters of notebooks, and sweeps' files made by an attacker: text stays text, nothing runs, and no path leads away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from nbtools.errors import InputError, RunError
from nbtools.notebooks import read_notebook
from nbtools.notebooks.parameters import check_parameters, check_secret
from nbtools.report import write_page
from nbtools.runs import Job, execute, identity, read_plan
from nbtools.runs.sweeps import jobs_of
from tests.runs.small_notebooks import printed, write_notebook
from tests.runs.small_sweeps import write_tiny

SHOW = "import json, os\nprint(json.dumps(word))\nassert not os.path.exists('ran')"
CODE = [
    "\"; import os; os.mkdir('ran') #",
    "'\nimport os\nos.mkdir('ran')\n'",
    "\\\"; __import__('os').mkdir('ran') #",
    "{__import__('os').mkdir('ran')} {0.__class__} %(x)s {output}",
    '"""\nimport os; os.mkdir(\'ran\')\n"""',
    "!mkdir ran",
    "%%bash\nmkdir ran",
]


@pytest.mark.slow(3)
def test_code_in_a_parameter_stays_text_whatever_quotes_it_brings(tmp_path: Path) -> None:
    """All texts in one notebook with braces in its name, which papermill would take for a format."""
    path = write_notebook(tmp_path, "note {0.__class__} {x}", SHOW, parameters='word: str = ""  # a text')
    given = check_parameters([read_notebook(path)], {"word": "\n".join(CODE)})["note {0.__class__} {x}"]
    execution = execute(Job(str(path), given), tmp_path / "out" / "a {b}.ipynb", runs=tmp_path / "runs")
    assert execution.failure is None and execution.output is not None
    assert json.loads(printed(execution.output)) == "\n".join(CODE)
    assert execution.output == tmp_path / "out" / "a {b}.ipynb" and not list(tmp_path.rglob("ran"))


@pytest.mark.slow(3)
def test_code_in_a_parameter_of_plain_papermill_stays_text_too(tmp_path: Path) -> None:
    path = write_notebook(tmp_path, "note", SHOW, parameters='word: str = ""  # a text')
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(path),
        str(tmp_path / "out.ipynb"),
        "-k",
        "python3",
        "--no-progress-bar",
        "--cwd",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "-p", "word", "\n".join(CODE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(printed(tmp_path / "out.ipynb")) == "\n".join(CODE) and not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("name", ["word; import os", "os.environ", "__import__('os')", "word = 1\nx", "../word", "{word}", ""])
def test_a_name_that_is_no_parameter_is_refused_before_it_is_written_anywhere(name: str, tmp_path: Path) -> None:
    path = write_notebook(tmp_path, "note", SHOW, parameters='word: str = ""')
    with pytest.raises(InputError, match="No chosen notebook has a parameter"):
        check_parameters([read_notebook(path)], {name: "x"})


def test_a_parameters_cell_is_read_and_never_run(tmp_path: Path) -> None:
    source = f'word: str = __import__("os").mkdir({str(tmp_path / "ran")!r})\nother: __import__("os").mkdir({str(tmp_path / "ran")!r}) = 1'
    path = write_notebook(tmp_path, "note", parameters=source)
    with pytest.raises(InputError, match="must be a whole number"):
        check_parameters([read_notebook(path)], {"other": "__import__('os').mkdir('ran')"})
    assert not list(tmp_path.rglob("ran"))


SECRETS: list[Any] = [
    "hf_" + "aB3" * 10, "sk-proj-" + "a1" * 15, "ghp_" + "x" * 36, "github_pat_" + "x" * 30, "AKIA" + "ABCD1234" * 2, "AIza" + "x" * 35,
    "xoxb-" + "1234567890-abc", "eyJ" + "a" * 20 + "." + "b" * 20 + "." + "c" * 20, "-----BEGIN RSA PRIVATE KEY-----",
    "https://me:s3cret@example.org/model", ["plain", "hf_" + "aB3" * 10], {"a": {"b": ["hf_" + "aB3" * 10]}}, {"password": "x"},
]  # fmt: skip


@pytest.mark.parametrize("value", SECRETS, ids=range(len(SECRETS)))
def test_a_secret_anywhere_in_a_value_is_refused_and_not_repeated(value: Any) -> None:
    with pytest.raises(InputError, match="looks like a secret") as caught:
        check_secret("word", value)
    assert not any(part in str(caught.value) for part in ("aB3aB3", "a1a1", "xxxx", "ABCD1234", "s3cret", "aaaa"))
    for plain in ("https://example.org/a:b", "a@b.example", "risk-averse-and-other-words-of-some-length", "a token of love"):
        check_secret("word", plain)


def plan_file(tmp_path: Path, text: str) -> Path:
    notebook = write_tiny(tmp_path)
    (tmp_path / "sweep.yaml").write_text(f"notebook: {notebook.name}\n{text}\n", encoding="utf8")
    return tmp_path / "sweep.yaml"


def aliases(depth: int, indent: str) -> str:
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, depth)]
    return "".join(f"{indent}{line}\n" for line in lines)


HOSTILE_PLANS = {
    "aliases under fixed": "fixed:\n" + aliases(12, "  "),
    "aliases in a parameter": "fixed:\n  word:\n" + aliases(12, "    "),
    "aliases in a grid": "grid:\n  word:\n" + aliases(12, "    "),
    "aliases in a key of its own": "x:\n" + aliases(12, "  "),
    "an alias of itself": "fixed: &a\n  word: *a",
    "a Python tag": "fixed: !!python/object/apply:os.mkdir [ran]",
    "a Python name": "fixed: {word: !!python/name:os.system }",
    "a tag of its own": "fixed: {word: !evil x}",
    "a number without end": "fixed: {size: " + "9" * 6_000 + "}",
    "a date that cannot be": "fixed: {word: 2001-99-99}",
    "brackets without end": "fixed: " + "[" * 5_000,
    "braces without end": "fixed: " + "{a: " * 3_000,
    "a key that cannot be": "fixed: {[1, 2]: 3}",
    "a set": "fixed: {word: !!set {a}}",
    "bytes": "fixed: {word: !!binary aGVsbG8=}",
    "a file without end": "fixed: {word: '" + "x" * 1_100_000 + "'}",
    "more runs than anybody wants": "random: {count: 999999999, draw: {word: [a]}}",
    "a secret that no draw takes": "random: {count: 1, draw: {word: [ok, ok, ok, hf_" + "aB3" * 10 + "]}}",
    "a secret as the metric": "metric: hf_" + "aB3" * 10,
    "a folder of its own": "fixed: {output_dir: ../../elsewhere}",
}


@pytest.mark.parametrize("name", HOSTILE_PLANS)
def test_a_hostile_file_of_a_sweep_is_two_lines_and_takes_neither_time_nor_memory(name: str, tmp_path: Path) -> None:
    """Nine aliases of nine aliases, twelve times over, are 280 billion values: an error message that repeated them filled the memory."""
    with pytest.raises(InputError) as caught:
        read_plan(plan_file(tmp_path, HOSTILE_PLANS[name]))
    said = str(caught.value)
    assert len(said) < 2_000 and "aB3aB3" not in said and not (tmp_path / "ran").exists() and not Path("ran").exists()


def test_a_parameter_that_names_a_folder_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content of a folder that a parameter names decides the run, so a word such as / had the whole disk read."""
    monkeypatch.setattr(identity, "MOST_FILES", 50)
    (tmp_path / "many").mkdir()
    for number in range(60):
        (tmp_path / "many" / str(number)).touch()
    plan = read_plan(plan_file(tmp_path, "fixed: {word: many}"))
    with pytest.raises(InputError, match="more than 50 files"):
        jobs_of(plan, tmp_path)


@pytest.mark.parametrize("run", ["../../elsewhere", "/elsewhere", "a/b"])
def test_a_sweeps_folder_that_names_runs_elsewhere_is_refused(run: str, tmp_path: Path) -> None:
    record = {"schema": 1, "kind": "sweep", "runs": [{"id": run, "parameters": {}}]}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="cannot be read"):
        write_page(tmp_path)


def test_a_notebook_that_a_stranger_sent_is_shown_without_being_run(tmp_path: Path) -> None:
    """`nbtools report` reads executed notebooks; only `run`, `sweep` and Jupyter execute one."""
    from nbtools.report.notebook_page import render_notebook

    path = write_notebook(tmp_path, "note", f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    assert "mkdir" in render_notebook(path, "A note", ["note"])
    assert nbformat.read(path, as_version=4).cells and not (tmp_path / "ran").exists()
