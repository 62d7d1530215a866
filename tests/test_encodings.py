"""Output in encodings that lack a character, paths that are not valid text, and explicit encodings of all files."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from nbtools.errors import ModelError
from nbtools.exercises.framework import EXERCISES
from nbtools.models import load_model
from nbtools.system import say, tolerant_output, without_surrogates
from nbtools.system.output import PLAIN_OR_ESCAPED
from tests.runs.small_notebooks import write_notebook

ROOT = Path(__file__).parents[1]
ENCODINGS = ("cp1252", "cp932", "ascii", "latin-1", "koi8-r")
NO_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def python(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **variables}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, check=False)


@pytest.mark.slow(6)
@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_commands_do_not_fail_where_the_output_lacks_a_character(tmp_path: Path, encoding: str) -> None:
    name = "Zoë 日本"
    words = [
        ["progress", "--name", name],
        ["run", "--list"],
        ["run", name],
        ["solve", "01", "--out", str(tmp_path / f"{name}.ipynb")],
        ["sweep", "--help"],
    ]
    code = (
        "import sys\nfrom nbtools.cli import main\nfor words in eval(sys.argv[1]):\n"
        "    try:\n        main(words)\n    except SystemExit as end:\n        print('code', end.code)"
    )
    done = python("-c", code, repr(words), PYTHONIOENCODING=encoding, NBTOOLS_RUNS=str(tmp_path / name))
    assert b"Traceback" not in done.stderr, done.stderr
    shown = done.stdout.decode(encoding)
    assert [line for line in shown.splitlines() if line.startswith("code")] == ["code 0", "code 0", "code 1", "code 0", "code 0"]
    assert "0 of 6" in shown and (tmp_path / name / "exercises.json").is_file()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_hint_and_praise_can_be_printed_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    texts = [hint for exercise in EXERCISES.values() for hint in exercise.hints] + ["□ ● … → “x” ᵀ 日 \ud83d"]
    for text in texts:
        say(text)
    assert stream.errors == "strict"
    assert len(stream.buffer.getvalue().decode(encoding).splitlines()) >= len(texts)


def lacks(text: str, encoding: str) -> bool:
    return text.encode(encoding, "ignore").decode(encoding) != text


def test_hint_and_check_print_in_cp1252(tmp_path: Path) -> None:
    name = next(name for name, exercise in EXERCISES.items() if lacks(" ".join(exercise.hints), "cp1252"))
    code = f"import nbtools\nfor _ in range(5):\n    nbtools.hint({name!r})\nnbtools.check({name!r}, 0)\nnbtools.hint('01-\u03c0')"
    done = python("-c", code, PYTHONIOENCODING="cp1252", NBTOOLS_RUNS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"Exercise {name}".encode() in done.stdout and b"01-pi" in done.stdout


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("●●○ 3 of 4", "ascii", b"**. 3 of 4"),
        ("●○", "cp1252", b"*."),
        ("x² · √d → 2…", "ascii", b"x2 * sqrt d -> 2..."),
        ("x² · d → …", "cp1252", "x² · d -> …".encode("cp1252")),
        ("bücher/日本", "ascii", b"b\\xfccher/\\u65e5\\u672c"),
        ("/home/m\udcc3\udcbcller", "ascii", "/home/müller".encode()),
        ("half \ud83d", "utf8", b"half \\ud83d"),
    ],
)
def test_a_missing_character_is_replaced_by_similar_ascii(text: str, encoding: str, shown: bytes) -> None:
    assert text.encode(encoding, PLAIN_OR_ESCAPED) == shown


def test_a_stream_gets_its_error_handler_back_and_a_chosen_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    strict, chosen = (io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors) for errors in ("strict", "replace"))
    monkeypatch.setattr(sys, "stdout", strict)
    monkeypatch.setattr(sys, "stderr", chosen)
    with tolerant_output():
        print("●")
        print("●", file=sys.stderr)
    assert (strict.errors, chosen.errors) == ("strict", "replace")
    strict.flush(), chosen.flush()
    assert (strict.buffer.getvalue(), chosen.buffer.getvalue()) == (f"*{os.linesep}".encode(), f"?{os.linesep}".encode())


def test_surrogates_become_text() -> None:
    assert without_surrogates("/m\udcc3\udcbc/\udcff \ud83d end é") == "/mü/\ufffd \ufffd end é"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps file names as text")
@pytest.mark.slow(12)
def test_a_run_in_a_folder_whose_name_the_locale_cannot_decode(tmp_path: Path) -> None:
    clone = tmp_path / "Bücher"
    write_notebook(
        clone / "notebooks", "00_setup", "import os\nprint(os.getcwd())\nfrom nbtools import hint\nhint('01-scale')\nprint('日')"
    )
    done = python("-m", "nbtools", "run", "--out", "läufe", cwd=clone, NBTOOLS_RUNS="", **NO_UTF8)
    assert done.returncode == 0, done.stderr + done.stdout
    assert b"l\\xe4ufe/index.html" in done.stdout
    status = json.loads((clone / "läufe" / "status.json").read_text(encoding="utf8"))
    assert status["command"] == ["nbtools", "run", "--out", "läufe"]
    nbformat.read(clone / "läufe" / "00_setup.ipynb", as_version=4)
    page = (clone / "läufe" / "index.html").read_text(encoding="utf8")
    assert "läufe" in page
    again = python("-m", "nbtools", "run", "--out", "läufe", cwd=clone, NBTOOLS_RUNS="", **NO_UTF8)
    assert again.returncode == 0 and b"Nothing was left to do." in again.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a file be called by any bytes")
@pytest.mark.slow(6)
def test_a_run_in_a_folder_whose_name_is_not_valid_text(tmp_path: Path) -> None:
    clone = tmp_path / os.fsdecode(b"B\xfccher")
    write_notebook(clone / "notebooks", "00_setup", "import os\nprint(os.getcwd())")
    done = python("-m", "nbtools", "run", cwd=clone, NBTOOLS_RUNS="", PYTHONUTF8="1")
    assert done.returncode == 0, done.stderr + done.stdout
    nbformat.read(clone / "runs" / "course" / "00_setup.ipynb", as_version=4)
    shutil.rmtree(clone)  # pytest cannot name it in a report


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a file be called by any bytes")
def test_a_model_in_a_folder_whose_name_is_not_valid_text_is_refused_with_a_remedy(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"B\xfccher")
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf8")
    with pytest.raises(ModelError, match="cannot be read as UTF-8") as caught:
        load_model(str(folder))
    assert "PYTHONUTF8=1" in caught.value.remedy
    shutil.rmtree(folder)


def sources() -> list[Path]:
    return sorted(file for folder in ("nbtools", "tools", "environments", "benchmarks") for file in (ROOT / folder).rglob("*.py"))


def open_ends(source: str) -> list[int]:
    """The lines with calls that read or write text in the platform's default encoding."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and leaves_encoding_open(node)]


def leaves_encoding_open(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    words = [one.value for one in [*call.args, *keywords.values()] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    modes = [word for word in words if word and set(word) <= set("rwaxbt+")]
    if "encoding" in keywords or any("b" in mode for mode in modes) or ast.unparse(call.func) == "super().open":
        return False
    if name in {"read_text", "write_text"} and isinstance(call.func, ast.Attribute):
        return "metadata" not in ast.unparse(call.func)  # a package's metadata leave no choice
    if name == "open":
        return isinstance(call.func, ast.Name) or not call.args or bool(modes)  # with other arguments: an archive, an address
    if name in {"fdopen", "TemporaryFile", "NamedTemporaryFile"}:
        return bool(modes)
    return name in {"run", "Popen", "check_output"} and bool({"text", "universal_newlines"} & set(keywords))


def test_every_text_file_and_pipe_names_its_encoding() -> None:
    assert {file: lines for file in sources() if (lines := open_ends(file.read_text(encoding="utf8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "path.read_text()",
        "path.open()",
        "path.open('a')",
        "open(path)",
        "open(path, 'w')",
        "path.write_text(text)",
        "os.fdopen(handle, 'w')",
        "subprocess.run(words, text=True)",
        "NamedTemporaryFile('w+')",
    ],
)
def test_a_missing_encoding_is_detected(source: str) -> None:
    assert open_ends(source) == [1]
    assert open_ends(f"{source[:-1]}, encoding='utf8')".replace("(,", "(")) == []


@pytest.mark.parametrize("source", ["path.open('rb')", "open(path, 'wb')", "urlopen(address)", "archive.open(member)", "TemporaryFile()"])
def test_bytes_need_no_encoding(source: str) -> None:
    assert open_ends(source) == []


def test_the_library_prints_through_say() -> None:
    """`print` fails where standard output lacks a character (standard error escapes it). Commands set their streams up, and may use it."""
    programs = {"cli", "bundle"}
    found = []
    for file in sorted((ROOT / "nbtools").rglob("*.py")):
        place = file.relative_to(ROOT / "nbtools")
        if place.parts[0] in programs or place.name in {"__main__.py", "output.py"}:
            continue
        calls = (node for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))) if isinstance(node, ast.Call))
        prints = (call for call in calls if ast.unparse(call.func) == "print")
        found += [f"{place}:{call.lineno}" for call in prints if "file=sys.stderr" not in ast.unparse(call)]
    assert found == []
