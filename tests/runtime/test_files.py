"""Places on disk, and writing that leaves all or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nbtools.errors import MachineError
from nbtools.runtime import files
from nbtools.runtime.files import cache_folder, cached, put_in_place, runs_folder, set_aside, write_text


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


@pytest.fixture
def no_usual_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The system's place for caches lies below a regular file, so that it cannot be made; the folder for temporary files."""
    (tmp_path / "file").write_text("in the way", encoding="utf8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("NBTOOLS_CACHE", raising=False)
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / "file" / name))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path / "temporary"))
    files._temporary_cache.cache_clear()
    return tmp_path / "temporary"


def test_a_cache_that_cannot_be_written_to_gives_way_to_a_temporary_one(no_usual_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cache_folder("reviews")
    assert folder.parent.parent == no_usual_cache and folder.is_dir() and cached("tokens", "x") == folder.parent / "tokens" / "x"
    said = capsys.readouterr().err
    assert said.count("NBTOOLS_CACHE") == said.count("\n") >= 1 and "in the way" not in said
    files._temporary_cache.cache_clear()
    assert cache_folder("reviews") == folder  # the next process finds what this one made


@pytest.mark.skipif(os.name == "nt", reason="Windows' folder for temporary files is the user's own")
def test_a_temporary_cache_that_somebody_else_made_is_not_used(no_usual_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (no_usual_cache / f"nbtools-cache-{os.getuid()}").symlink_to(tmp_path / "theirs")
    folder = cache_folder("kernels")
    assert folder.parent.parent == no_usual_cache and not folder.parent.is_symlink() and list((tmp_path / "theirs").iterdir()) == []


def test_what_a_read_only_cache_holds_is_found_there(no_usual_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / "full"))
    (tmp_path / "full" / "models" / "smollm2").mkdir(parents=True)
    monkeypatch.setattr(files, "_not_writable", lambda folder: "read-only")
    assert cached("models", "smollm2") == tmp_path / "full" / "models" / "smollm2"
    assert cached("models", "other").is_relative_to(no_usual_cache)


def test_a_named_cache_that_cannot_be_written_to_is_an_error_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf8")
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match="cannot be written to") as caught:
        cache_folder("reviews")
    assert "NBTOOLS_CACHE" in caught.value.remedy
