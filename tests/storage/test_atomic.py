"""Files and folders are written completely or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nbtools.storage.atomic import atomic_folder, keep_backup, write_text


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_text_is_written_completely_as_utf8(tmp_path: Path) -> None:
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


def test_a_backup_takes_the_first_free_name(tmp_path: Path) -> None:
    assert keep_backup(tmp_path / "run") is None
    for content in "abc":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "file").write_text(content)
        keep_backup(tmp_path / "run")
    assert names(tmp_path) == ["run-1", "run-2", "run-3"]
    assert [(tmp_path / name / "file").read_text() for name in names(tmp_path)] == ["a", "b", "c"]


def test_folder_appears_only_when_complete(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "deep" / "model") as temporary:
        (temporary / "weights").write_text("w")
        assert not (tmp_path / "deep" / "model").exists()
    assert names(tmp_path / "deep") == ["model"] and (tmp_path / "deep" / "model" / "weights").read_text() == "w"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_the_earlier_folder_and_no_litter(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("earlier")
    with pytest.raises(error), atomic_folder(tmp_path / "model") as temporary:
        (temporary / "weights").write_text("half")
        raise error
    assert names(tmp_path) == ["model"] and (tmp_path / "model" / "weights").read_text() == "earlier"


def test_replaced_folder_holds_nothing_of_the_earlier(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "model") as temporary:
            (temporary / name).write_text(name)
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == [".nbtools.json", "new"]


def test_a_folder_that_somebody_else_made_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("o")
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new").write_text("n")
    assert names(tmp_path) == ["model", "model-1"] and names(tmp_path / "model-1") == ["old"]


@pytest.mark.parametrize("theirs", [False, True], ids=["written by an earlier call", "with other files"])
def test_an_earlier_folder_keeps_its_name_if_the_new_one_cannot_take_it(
    theirs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "old").write_text("old")
    if theirs:
        (tmp_path / "model" / "notes").write_text("mine")
    before = names(tmp_path / "model")
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if path.suffix == ".part" and path.is_dir():
            raise PermissionError
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "model") as temporary:
        (temporary / "new").write_text("new")
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == before
