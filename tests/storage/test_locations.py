"""Where the cache and the results of runs are stored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbtools.errors import MachineError
from nbtools.storage import locations
from nbtools.storage.locations import cache_folder, cached, runs_folder


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
    monkeypatch.setattr(locations.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / name))
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


@pytest.fixture
def no_usual_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The system's place for caches lies below a regular file, so that it cannot be made; the folder for temporary files."""
    (tmp_path / "file").write_text("in the way", encoding="utf8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("NBTOOLS_CACHE", raising=False)
    monkeypatch.setattr(locations.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / "file" / name))
    monkeypatch.setattr(locations.tempfile, "tempdir", str(tmp_path / "temporary"))
    locations._temporary_cache.cache_clear()
    return tmp_path / "temporary"


def test_a_cache_that_cannot_be_written_to_gives_way_to_a_temporary_one(no_usual_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cache_folder("reviews")
    assert folder.parent.parent == no_usual_cache and folder.is_dir() and cached("tokens", "x") == folder.parent / "tokens" / "x"
    said = capsys.readouterr().err
    assert said.count("NBTOOLS_CACHE") == said.count("\n") >= 1 and "in the way" not in said
    locations._temporary_cache.cache_clear()
    assert cache_folder("reviews") == folder  # the next process finds what this one made


@pytest.mark.skipif(os.name == "nt", reason="Windows' folder for temporary files is the user's own")
def test_a_temporary_cache_that_somebody_else_made_is_not_used(no_usual_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (no_usual_cache / f"nbtools-cache-{os.getuid()}").symlink_to(tmp_path / "theirs")
    folder = cache_folder("kernels")
    assert folder.parent.parent == no_usual_cache and not folder.parent.is_symlink() and list((tmp_path / "theirs").iterdir()) == []


def test_what_a_read_only_cache_holds_is_found_there(no_usual_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locations.platformdirs, "user_cache_dir", lambda name, appauthor: str(tmp_path / "full"))
    (tmp_path / "full" / "models" / "smollm2").mkdir(parents=True)
    monkeypatch.setattr(locations, "_not_writable", lambda folder: "read-only")
    assert cached("models", "smollm2") == tmp_path / "full" / "models" / "smollm2"
    assert cached("models", "other").is_relative_to(no_usual_cache)


def test_a_named_cache_that_cannot_be_written_to_is_an_error_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf8")
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match="cannot be written to") as caught:
        cache_folder("reviews")
    assert "NBTOOLS_CACHE" in caught.value.remedy
