"""Places on disk, and writing that leaves all or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nbtools.runtime import files
from nbtools.runtime.files import cache_folder, put_in_place, runs_folder, set_aside, write_text


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_cache_folder_is_made_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "here"))
    folder = cache_folder("models", "x")
    assert folder == tmp_path / "here" / "models" / "x" and folder.is_dir()


def test_cache_folder_understands_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("NBTOOLS_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"


def test_cache_folder_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NBTOOLS_CACHE", raising=False)
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / name))
    assert cache_folder("a") == tmp_path / "nbtools-course" / "a"


def test_runs_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NBTOOLS_RUNS", raising=False)
    course = tmp_path / "course"
    (course / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(course / "notebooks")
    assert runs_folder() == course / "notebooks" / "runs"
    (course / "notebooks" / "00_setup.ipynb").write_text("{}")
    assert runs_folder() == course / "runs"
    monkeypatch.chdir(course)
    assert runs_folder() == course / "runs"
    monkeypatch.setenv("NBTOOLS_RUNS", str(tmp_path / "named"))
    assert runs_folder() == tmp_path / "named"


def test_text_is_written_whole_as_utf8(tmp_path: Path) -> None:
    path = write_text(tmp_path / "new" / "a.txt", "Zoë ␣ 🎬\n")
    assert path.read_bytes() == "Zoë ␣ 🎬\n".encode() and names(path.parent) == ["a.txt"]


def test_text_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "a.txt", "before")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "after")
    assert path.read_text() == "before" and names(tmp_path) == ["a.txt"]


def test_set_aside_takes_the_first_free_name(tmp_path: Path) -> None:
    assert set_aside(tmp_path / "run") is None
    for content in "abc":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "file").write_text(content)
        set_aside(tmp_path / "run")
    assert names(tmp_path) == ["run-1", "run-2", "run-3"]
    assert [(tmp_path / name / "file").read_text() for name in names(tmp_path)] == ["a", "b", "c"]


def test_folder_appears_only_when_complete(tmp_path: Path) -> None:
    with put_in_place(tmp_path / "deep" / "model") as aside:
        (aside / "weights").write_text("w")
        assert not (tmp_path / "deep" / "model").exists()
    assert names(tmp_path / "deep") == ["model"] and (tmp_path / "deep" / "model" / "weights").read_text() == "w"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_the_earlier_folder_and_no_litter(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("earlier")
    with pytest.raises(error), put_in_place(tmp_path / "model") as aside:
        (aside / "weights").write_text("half")
        raise error
    assert names(tmp_path) == ["model"] and (tmp_path / "model" / "weights").read_text() == "earlier"


def test_replaced_folder_holds_nothing_of_the_earlier(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with put_in_place(tmp_path / "model") as aside:
            (aside / name).write_text(name)
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == [".nbtools.json", "new"]


def test_a_folder_that_somebody_else_made_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("o")
    with put_in_place(tmp_path / "model") as aside:
        (aside / "new").write_text("n")
    assert names(tmp_path) == ["model", "model-1"] and names(tmp_path / "model-1") == ["old"]
