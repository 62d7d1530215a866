"""The Hub's switch, and a token that is found without being shown."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from nbtools.system.hub import hub_offline, hub_token_source

TOKEN = "hf_" + "Zq7Xw9Kv2Rb5Nj8" * 2


@pytest.fixture(autouse=True)
def no_token_of_this_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_key", "COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_BACKEND_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.mark.parametrize(
    ("value", "off"), [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("", False), (None, False)]
)
def test_hub_switch(value: str | None, off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub_offline() is off


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_key"])
def test_token_in_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, TOKEN)
    assert hub_token_source("HF_key") == f"environment variable {name}"


def test_no_token_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_token_source() is None
    monkeypatch.setenv("HF_TOKEN", "  \n")
    assert hub_token_source() is None


def test_token_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n")
    assert hub_token_source() is None, "a file of white space holds no token"
    file.write_text(TOKEN + "\n")
    assert hub_token_source() == "token file"


def test_token_path_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    assert hub_token_source() is None


def colab(monkeypatch: pytest.MonkeyPatch, secrets: dict[str, str], error: type[Exception]) -> list[str]:
    """A Colab whose vault holds `secrets` and raises `error` for any other name. Returns the names asked for, as they come."""
    asked: list[str] = []

    def get(name: str) -> str:
        asked.append(name)
        if name not in secrets:
            raise error(name)
        return secrets[name]

    userdata = types.SimpleNamespace(get=get)
    package, inner = types.ModuleType("google"), types.ModuleType("google.colab")
    inner.userdata = userdata  # type: ignore[attr-defined]
    package.colab = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", package)
    monkeypatch.setitem(sys.modules, "google.colab", inner)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    return asked


class SecretNotFoundError(Exception):
    pass


def test_colab_secret_under_the_name_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = colab(monkeypatch, {"HF_key": TOKEN}, SecretNotFoundError)
    assert hub_token_source("HF_key") == "Colab secret HF_key" and asked == ["HF_key"]


def test_colab_secret_under_the_usual_name(monkeypatch: pytest.MonkeyPatch) -> None:
    colab(monkeypatch, {"HF_TOKEN": TOKEN}, SecretNotFoundError)
    assert hub_token_source("HF_key") == "Colab secret HF_TOKEN"


@pytest.mark.parametrize("error", [SecretNotFoundError, TimeoutError, AttributeError])
def test_colab_vault_that_does_not_answer(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent, refused, or asked from a command outside the notebook's kernel: no token, and no traceback."""
    asked = colab(monkeypatch, {}, error)
    assert hub_token_source("HF_key") is None and asked == ["HF_key", "HF_TOKEN"]


def test_colab_secret_that_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    colab(monkeypatch, {"HF_TOKEN": " "}, SecretNotFoundError)
    assert hub_token_source() is None


def test_colab_variables_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_GPU", "")
    monkeypatch.setitem(sys.modules, "google.colab", None)
    assert hub_token_source() is None
