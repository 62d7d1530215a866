"""The check that nothing needs the network: refused connections, their record, and the report of doctor."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbtools.bundle import offline, trial
from nbtools.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::1%lo", "localhost", "", None, b"127.0.0.1"])
def test_this_machine_is_local(host: object) -> None:
    assert trial.is_local(host)


@pytest.mark.parametrize("host", ["huggingface.co", "192.168.1.10", "8.8.8.8", "fe80::1", b"example.org", "localhost.example.org"])
def test_everything_else_is_not(host: object) -> None:
    assert not trial.is_local(host)


def in_a_trial(code: str) -> dict:
    """Run `code`, which prints JSON, in a process with the hook."""
    begin = "import json, sys\nfrom nbtools.bundle import trial\nsys.addaudithook(trial.refuse_the_network)\n"
    done = subprocess.run([sys.executable, "-c", begin + code], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_name_lookups_and_connections_are_refused_and_recorded() -> None:
    found = in_a_trial("""
import socket, urllib.request
errors = []
for ask in (
    lambda: urllib.request.urlopen("http://example.invalid/", timeout=1),
    lambda: socket.create_connection(("192.0.2.7", 80), timeout=1),
    lambda: socket.socket().connect(("192.0.2.8", 80)),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.9", 53)),
):
    try:
        ask()
    except OSError as error:
        errors.append("refused in this trial" in str(error))
print(json.dumps({"errors": errors, "asked": trial.ASKED}))
""")
    assert found["errors"] == [True] * 4
    assert found["asked"] == ["example.invalid", "192.0.2.7", "192.0.2.8", "192.0.2.9"]


@pytest.mark.skipif(os.name != "posix", reason="local sockets with a path")
def test_local_connections_are_allowed() -> None:
    found = in_a_trial("""
import socket, tempfile
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
with tempfile.TemporaryDirectory() as folder:
    local = socket.socket(socket.AF_UNIX)
    local.bind(folder + "/s")
    local.listen()
    socket.socket(socket.AF_UNIX).connect(folder + "/s")
print(json.dumps(trial.ASKED))
""")
    assert found == []


@pytest.mark.slow(8)
def test_mini_and_the_reviews_need_no_network() -> None:
    check = offline.try_profile("mini")
    assert check.level == "ok" and "read 20 reviews; nothing was asked of the network" in check.value


@pytest.mark.slow(4)
@pytest.mark.parametrize(("profile", "advice"), [("smollm2", "nbtools fetch smollm2"), ("gpt2", "")])
def test_a_model_that_is_not_on_this_machine_fails(profile: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    check = offline.try_profile(profile)
    assert check.level == "fail" and advice in check.advice and check.advice


def test_something_that_asks_the_network_fails_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"text": "The movie was good", "reviews": 20, "asked": ["hub.example.org"]}
    monkeypatch.setattr(offline.subprocess, "run", lambda *words, **options: subprocess.CompletedProcess(words, 0, json.dumps(said), ""))
    check = offline.try_profile("mini")
    assert check.level == "fail" and "hub.example.org" in check.value


def test_a_trial_that_crashes_shows_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.CompletedProcess([], 1, "", "Traceback …\nImportError: no torch")
    monkeypatch.setattr(offline.subprocess, "run", lambda *words, **options: dead)
    assert offline.try_profile("mini").value == "could not be used: ImportError: no torch"


def test_all_packages_are_installed() -> None:
    check = offline.examine_packages()
    assert check.level == "ok", check.value


def test_a_missing_and_an_old_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "jupyterlab":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "papermill" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = offline.examine_packages()
    assert check.level == "fail" and "jupyterlab is missing" in check.value and "papermill is 0.1, and >=2.7 is needed" in check.value


def test_an_unknown_profile_is_an_error_before_anything_is_tried() -> None:
    with pytest.raises(InputError, match="Did you mean 'mini'"):
        offline.doctor_offline(["minni"])
