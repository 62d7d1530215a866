"""Every output path that a user can give: what is refused before any work, and which of their files are never changed."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

import nbtools
from benchmarks import harness
from nbtools.cli import main
from nbtools.data import Packed
from nbtools.data.examples import write_example
from nbtools.errors import InputError, RunError
from nbtools.exercises.progress import Progress, write_progress
from nbtools.models import LanguageModel, save_model
from nbtools.models.smollm2 import fetch
from nbtools.report import write_page
from nbtools.runs import plan_run, refresh_notebooks
from nbtools.site import write_site
from nbtools.storage import destination, keep_backup, write_text
from nbtools.storage.destinations import BUNDLE, FETCHED, FINETUNE, MODEL, RUN, SITE, SWEEP
from nbtools.training import TrainingChoices, checkpoints
from nbtools.widgets import TrainingMonitor
from tests.small_models import tiny
from tools.bundle import make_bundle
from tools.mini.pretrain import pretrain
from tools.mini.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def untrained() -> LanguageModel:
    """For calls that must fail before training."""
    return tiny()


def blocks() -> Packed:
    ids = np.ones((4, 16), np.int32)
    return Packed(ids, np.tile(np.arange(16, dtype=np.int32), (4, 1)), ids, {})


def command(*arguments: str) -> None:
    """Run a command in this process; its error messages become an InputError."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf8", write_through=True)
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        main(arguments)
    if end.value.code:
        problem = said.buffer.getvalue().decode()  # type: ignore[attr-defined]
        assert "Traceback" not in problem
        raise InputError(problem, "")


def to_csv(path: Any) -> None:
    sent = Path(os.environ["SENT"])
    write_progress(sent, Progress("Ada", {"01-softmax": {"tries": 2, "hints": 1}}))
    command("progress", str(sent), "--csv", str(path))


def benchmark(path: Any) -> None:
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "say", printed.append)
        if harness.main("some", lambda _: {"goals": []}, harness.parser(None), ["--out", str(path)]):
            raise InputError(printed[-1], "")


PLAN = {"notebook": "04", "fixed": {"max_steps": 1}}
FOLDERS: dict[str, Callable[[Any], object]] = {
    "save_model": lambda path: save_model(untrained(), path),
    "finetune": lambda path: nbtools.finetune(untrained(), blocks(), output_dir=path),
    "resume": lambda path: nbtools.finetune(untrained(), blocks(), output_dir=path, resume=True),
    "estimate": lambda path: nbtools.estimate(untrained(), blocks(), output_dir=path),
    "pretrain": lambda path: pretrain([], [], Recipe(), path),
    "monitor": lambda path: TrainingMonitor.start(path),
    "run": lambda path: plan_run(["00"], out=path),
    "run, command": lambda path: command("run", "00", "--out", str(path)),
    "sweep": lambda path: nbtools.sweep(PLAN, path),
    "sweep, command": lambda path: command("sweep", os.environ["PLAN"], f"--out={path}", "--dry-run"),
    "site": lambda path: write_site(path),
    "site, command": lambda path: command("site", f"--out={path}"),
    "bundle": lambda path: make_bundle(["mini"], path),
}
FILES: dict[str, Callable[[Any], object]] = {
    "solve": lambda path: command("solve", "01", f"--out={path}"),
    "progress": to_csv,
    "benchmark": benchmark,
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in a home folder that contains files of the user."""
    home = tmp_path / "home"
    work = home / "work"
    write_text(work / "data" / "notes.txt", "mine")
    write_text(work / "data" / "sub" / "deep.txt", "mine too")
    write_text(work / "thesis.txt", "years")
    write_text(tmp_path / "plan.yaml", "notebook: 04\nfixed: {max_steps: 1}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("SENT", str(tmp_path / "sent.json"))
    monkeypatch.setenv("PLAN", str(tmp_path / "plan.yaml"))
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.chdir(work)
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


TAKEN = [
    "data", "thesis.txt", ".", "..", "../..", "~", "~/work", "~/work/data", "/", "", " ", "data/notes.txt/below", "a\0b", "~nobody-here/x",
    "n" * 300, "/dev/null", "/proc/none/here",
]  # fmt: skip


@pytest.mark.parametrize("path", TAKEN, ids=[repr(path[:20]) for path in TAKEN])
@pytest.mark.parametrize("writer", [*FOLDERS, *FILES])
def test_a_path_with_other_files_is_refused_before_any_work_and_not_changed(place, writer, path) -> None:
    before = contents(place)
    with pytest.raises(InputError) as refused:
        {**FOLDERS, **FILES}[writer](path)
    assert contents(place) == before, refused.value
    assert names(place) == {"work"} and names(place / "work") == {"data", "thesis.txt"}


@pytest.mark.parametrize("given", [3, True, b"data", ["data"], object()], ids=lambda given: type(given).__name__)
@pytest.mark.parametrize("writer", ["save_model", "finetune", "estimate", "pretrain", "monitor", "run", "sweep", "site", "bundle"])
def test_a_value_that_is_not_a_path_is_refused(place, writer, given) -> None:
    with pytest.raises(InputError, match=r"is not a path|must be a path"):
        FOLDERS[writer](given)


@pytest.mark.slow(10)
def test_a_tilde_is_the_home_folder_and_an_empty_folder_may_be_filled(place) -> None:
    (place / "models" / "m").mkdir(parents=True)
    assert save_model(tiny(), "~/models/m") == place / "models" / "m"
    assert write_site("~/pages", "~/models/m") == place / "pages" / "index.html"
    command("solve", "01", "--out=~/solved.ipynb")
    to_csv("~/class.csv")
    benchmark("~/result.json")
    assert {"class.csv", "models", "pages", "result.json", "solved.ipynb", "work"} == names(place)
    assert not (place / "work" / "~").exists()


def test_a_folder_of_another_kind_is_refused_even_if_this_package_made_it(place) -> None:
    saved = save_model(tiny(), "m")
    before = contents(saved)
    for writer in FOLDERS.keys() - {"save_model"}:
        with pytest.raises(InputError, match="already exists and is not"):
            FOLDERS[writer](saved)
    assert contents(saved) == before


@pytest.mark.parametrize("change", ["a file beside", "a file in a folder", "a file edited", "a link"])
def test_files_added_to_a_model_are_kept_when_it_is_saved_again(place, change, capsys) -> None:
    saved = save_model(tiny(), "m")
    if change == "a file edited":
        config = saved / "config.json"
        config.write_text(config.read_text().replace("{", "{ ", 1))
    elif change == "a link":
        (saved / "notes").symlink_to(place / "work" / "thesis.txt")
    else:
        write_text(saved / ("notes.txt" if "beside" in change else "sub/notes.txt"), "mine")
    before = contents(saved)
    save_model(tiny(seed=1), "m")
    assert contents(place / "work" / "m-1") == before and "kept as m-1" in capsys.readouterr().out
    assert (saved / "model.safetensors").read_bytes() != before["model.safetensors"]


def test_an_unchanged_model_is_replaced_without_a_backup(place) -> None:
    save_model(tiny(), "m")
    save_model(tiny(), "m")
    assert names(place / "work") == {"data", "m", "thesis.txt"}


def test_a_model_that_transformers_saved_is_not_overwritten(place) -> None:
    lm = tiny()
    lm.model.save_pretrained("own")
    with pytest.raises(InputError, match="already exists and is not a saved model"):
        save_model(lm, "own")


def test_folders_of_earlier_versions_are_recognised(place) -> None:
    earlier = {
        MODEL: {"config.json": "{}", "profile.txt": "mini"},
        FINETUNE: {"plan.json": json.dumps({"learning_rate": 1.0, "max_steps": 3, "choices": {}}), "model/config.json": "{}"},
        RUN: {"status.json": json.dumps({"schema": 1, "notebooks": {}, "versions": {}})},
        SWEEP: {"sweep.json": json.dumps({"schema": 1, "kind": "sweep", "runs": [], "metric": "x"})},
        SITE: {".course-site": "", "index.html": ""},
        BUNDLE: {"bundle.json": json.dumps({"schema": 1, "course": "x", "targets": {}})},
        FETCHED: {"origin.json": json.dumps({"model": "x", "gguf_sha256": "y", "files": {}})},
    }
    for number, (kind, files) in enumerate(earlier.items()):
        for name, text in files.items():
            write_text(Path(f"e{number}", name), text)
        assert destination(f"e{number}", kind, "--out").name == f"e{number}"
        for name in files:
            write_text(Path(f"f{number}", name), '{"own": "notes"}')
        if kind not in (MODEL, SITE, FETCHED):
            with pytest.raises(InputError, match=f"is not {kind.name}"):
                destination(f"f{number}", kind, "--out")


def test_a_model_saved_by_an_earlier_version_is_kept_because_it_may_have_been_changed(place) -> None:
    write_text(Path("m/config.json"), "{}")
    write_text(Path("m/profile.txt"), "mini")
    save_model(tiny(), "m")
    assert contents(Path("m-1")) == {"config.json": b"{}", "profile.txt": b"mini"} and Path("m/model.safetensors").is_file()


def test_an_unfinished_folder_of_another_run_is_refused(place) -> None:
    write_text(Path("run.unfinished/notes.txt"), "mine")
    for writer in ("finetune", "resume", "estimate", "pretrain", "monitor"):
        with pytest.raises(InputError, match=r"run\.unfinished already exists and is not a fine-tuning"):
            FOLDERS[writer]("run")


def test_a_folder_created_during_training_is_not_overwritten(place) -> None:
    target = place / "work" / "run"
    checkpoints.begin(target, {"max_steps": 1}, TrainingChoices())
    write_text(target / "notes.txt", "mine")
    with pytest.raises(RunError, match="made by something else"):
        checkpoints.finish(target)
    assert contents(target) == {"notes.txt": b"mine"}


def test_a_link_to_a_folder_is_followed_and_stays_a_link(place) -> None:
    (place / "disk").mkdir()
    Path("link").symlink_to(place / "disk")
    save_model(tiny(), "link/m")
    assert save_model(tiny(), "link/m") == place / "disk" / "m" and Path("link").is_symlink()
    Path("data-link").symlink_to("data")
    with pytest.raises(InputError, match="already exists"):
        save_model(tiny(), "data-link")
    Path("ring").symlink_to("ring")
    with pytest.raises(InputError):
        save_model(tiny(), "ring")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="a folder in which even root cannot write")
@pytest.mark.parametrize("writer", [*FOLDERS, *FILES])
def test_a_path_that_cannot_be_written_is_an_error_before_any_work(place, writer) -> None:
    with pytest.raises(InputError, match="Nothing can be written in /proc"):
        {**FOLDERS, **FILES}[writer]("/proc/mine")


def test_a_solved_copy_that_was_edited_is_kept(place) -> None:
    command("solve", "01", "--out", "solved.ipynb")
    command("solve", "01", "--out", "solved.ipynb")
    assert not Path("solved-1.ipynb").exists()
    content = nbformat.read("solved.ipynb", as_version=4)
    content.cells[0].source += " and my remarks"
    nbformat.write(content, "solved.ipynb")
    command("solve", "01", "--out", "solved.ipynb")
    assert "my remarks" in Path("solved-1.ipynb").read_text() and "my remarks" not in Path("solved.ipynb").read_text()


def test_another_notebook_or_table_is_not_overwritten(place) -> None:
    shutil.copy(ROOT / "notebooks" / "02_loading.ipynb", "mine.ipynb")
    write_text(Path("grades.csv"), "name,grade\nAda,1\n")
    write_text(Path("package.json"), '{"name": "mine"}')
    before = contents(place)
    for writer, path in (("solve", "mine.ipynb"), ("progress", "grades.csv"), ("benchmark", "package.json")):
        with pytest.raises(InputError, match="already exists and is not"):
            FILES[writer](path)
    assert contents(place) == before


def test_the_example_file_does_not_overwrite_a_file_of_its_name(place) -> None:
    write_text(Path("data/snippets.csv"), "my,own\n1,2\n")
    before = contents(place)
    with pytest.raises(InputError, match="already exists and is not"):
        write_example("data")
    assert contents(place) == before
    first = write_example("examples", 60)
    assert write_example("~/work/examples", 60) == first and names(Path("examples")) == {"snippets.csv"}


def test_a_users_page_is_not_overwritten_by_a_report(place) -> None:
    metrics = {"schema": 1, "kind": "run", "created": "2026-01-01T00:00:00", "state": "done", "notebooks": {}}
    write_text(Path("run/metrics.json"), json.dumps(metrics))
    page = write_page("~/work/run")
    assert write_page("run") == page
    page.write_text("<html>my own</html>")
    with pytest.raises(InputError, match="is not a page of a report"):
        write_page("run")
    assert page.read_text() == "<html>my own</html>"


def test_a_users_model_in_the_cache_is_not_replaced_by_a_fetched_one(place, tmp_path) -> None:
    own = write_text(tmp_path / "cache" / "models" / "smollm2" / "weights.bin", "weeks of work")
    with pytest.raises(InputError, match="is not a fetched model"):
        fetch()
    assert own.read_text() == "weeks of work"


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="a folder in which even root cannot write")
def test_refresh_fails_before_any_work_if_a_notebook_cannot_be_written(place) -> None:
    class Notebook:
        name, path = "own", Path("/proc/own.ipynb")

    with pytest.raises(InputError, match="Nothing can be written in /proc"):
        refresh_notebooks([Notebook()])  # type: ignore[list-item]


def test_backups_keep_the_file_extension(place) -> None:
    write_text(Path("a.csv"), "1")
    assert keep_backup("a.csv") == Path("a-1.csv")
