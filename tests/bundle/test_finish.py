"""The steps of an installation after its packages; test_install.py tests the complete installation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbtools.bundle.finish import copy_new, finish, place_model
from nbtools.bundle.install import InstallError
from nbtools.errors import InputError
from nbtools.models import smollm2


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model as in a bundle, with small weights."""
    folder = tmp_path / "bundle" / "models" / "smollm2"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    smollm2._write_origin(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_model_goes_to_the_cache_once(model: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place_model(model)
    placed = cache / "models" / "smollm2"
    assert smollm2.is_complete(placed) and "goes to" in capsys.readouterr().out
    before = (placed / "model.safetensors").stat().st_ino
    place_model(model)
    assert "is there already" in capsys.readouterr().out and (placed / "model.safetensors").stat().st_ino == before


def test_an_incomplete_model_is_replaced(model: Path, cache: Path) -> None:
    place_model(model)
    (cache / "models" / "smollm2" / "model.safetensors").unlink()
    place_model(model)
    assert smollm2.is_complete(cache / "models" / "smollm2")


def test_other_files_at_its_path_are_not_changed(model: Path, cache: Path) -> None:
    place = cache / "models" / "smollm2"
    place.mkdir(parents=True)
    (place / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="already exists and is not a fetched model"):
        place_model(model)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    copy_new(tmp_path / "new", tmp_path / "folder" / "file")
    (tmp_path / "folder" / "file").write_text("mine")
    copy_new(tmp_path / "new", tmp_path / "folder" / "file")
    assert (tmp_path / "folder" / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["../../evil", "/evil"])
def test_a_model_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    manifest = {"version": "1", "targets": {}, "models": [name], "profiles": [], "bytes": {}}
    (tmp_path / "bundle.json").write_text(json.dumps(manifest))
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(InstallError, match=r"bundle\.json is missing or damaged"):
        finish(tmp_path, tmp_path / "course")
    assert not (tmp_path / "course").exists()
