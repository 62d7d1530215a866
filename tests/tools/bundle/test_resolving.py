"""Resolving with a real uv: markers and wheels of the target, constraints, and pip's settings."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

from nbtools.errors import MachineError, UnreachableError
from tests.small_packages import write_simple_index, write_wheel
from tools.bundle import resolving
from tools.bundle.pip_settings import PYPI, read_pip_settings, uv_environment, uv_options
from tools.bundle.resolving import Pin, add_hashes, resolve
from tools.bundle.targets import Target, choose_targets

LINUX = Target("linux-x86_64", "3.11", native=False)
WINDOWS = Target("windows-x86_64", "3.13", native=False)
MACOS = Target("macos-arm64", "3.12", native=False)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def versions(wheels: Path, target: Target, roots: list[str], constraints: str = "", *, offline: bool = True) -> dict[str, str] | None:
    """What `roots` need, name -> version."""
    pins = resolve(roots, constraints.splitlines(), target, wheels, offline=offline)
    return None if pins is None else {pin.name: str(pin.version) for pin in pins}


def test_what_is_needed_depends_on_the_target(wheels: Path) -> None:
    write_wheel(wheels, "top", requires=["mid[more]", 'extra_only; extra == "never"'])
    write_wheel(wheels, "mid", requires=['win; sys_platform == "win32"', 'nix; os_name == "posix"', 'added; extra == "more"'])
    write_wheel(
        wheels, "win", requires=['amd; platform_machine == "AMD64" and python_version >= "3.13"', 'lin; platform_system == "Linux"']
    )
    write_wheel(
        wheels, "nix", requires=['arm; sys_platform == "darwin" and platform_machine == "arm64"', 'lin; platform_system == "Linux"']
    )
    for name in ("added", "other", "amd", "arm", "lin"):
        write_wheel(wheels, name)
    assert (versions(wheels, LINUX, ["top"]) or {}).keys() == {"top", "mid", "added", "nix", "lin"}
    assert (versions(wheels, WINDOWS, ["top"]) or {}).keys() == {"top", "mid", "added", "win", "amd"}
    assert (versions(wheels, MACOS, ["top"]) or {}).keys() == {"top", "mid", "added", "nix", "arm"}


def test_the_newest_that_fits_the_machine_and_the_constraints_is_taken(wheels: Path) -> None:
    for version in ("1.0", "1.0+cpu", "2.0"):
        write_wheel(wheels, "a", version)
    write_wheel(wheels, "a", "3.0", tag="py3-none-win_amd64")
    write_wheel(wheels, "a", "4.0", tag="cp311-cp311-manylinux_2_34_x86_64")  # for a newer glibc than the target's
    assert versions(wheels, LINUX, ["a"]) == {"a": "2.0"} and versions(wheels, WINDOWS, ["a"]) == {"a": "3.0"}
    assert versions(wheels, LINUX, ["a"], "# tested\n\na==1.0  # why\n") == {"a": "1.0+cpu"}


def test_a_local_file_is_required_and_not_pinned(wheels: Path) -> None:
    own = write_wheel(wheels.parent / "own", "own", requires=['a; extra == "lab"'])
    write_wheel(wheels, "a")
    assert versions(wheels, LINUX, [f"own[lab] @ {own.as_uri()}"]) == {"a": "1.0"}


def test_what_cannot_be_had_without_an_index_is_none(wheels: Path) -> None:
    assert versions(wheels, LINUX, ["absent"]) is None


def test_wheels_that_do_not_fit_together_are_an_error_that_says_who_asks(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(wheels, "top", requires=["one", "low"])
    write_wheel(wheels, "one", requires=["low>=2"])
    write_wheel(wheels, "low")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UnreachableError, match=r"no wheels that fit together for linux-x86_64-py3\.11: .*one.*low>=2") as caught:
        versions(wheels, LINUX, ["top"], offline=False)
    assert "\n" not in caught.value.problem and "leave that platform or Python out" in caught.value.remedy


def test_without_uv_it_says_how_to_get_it(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving.PathFinder, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="uv, which resolves") as caught:
        versions(wheels, LINUX, ["a"])
    assert "pip install uv" in caught.value.remedy


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Two package indexes, `first` and `second`, as an HTTP server: its address, and the paths that were requested."""
    requested: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            requested.append(self.path)

    for name, version in {"first": "1.0", "second": "2.0"}.items():
        write_simple_index(
            tmp_path / "served" / name, [write_wheel(tmp_path / name, "a", version, ["b"]), write_wheel(tmp_path / name, "b")]
        )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requested
    server.shutdown()
    server.server_close()


def test_the_indexes_that_pip_is_set_to_use_are_asked(wheels: Path, served: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, requested = served
    settings = wheels.with_name("pip.conf")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    settings.write_text(f"[global]\nindex-url = {address}/first\n")
    assert versions(wheels, LINUX, ["a"], offline=False) == {"a": "1.0", "b": "1.0"}
    assert requested and all(path.startswith("/first/") for path in requested)
    settings.write_text(f"[global]\nindex-url = {address}/first\nextra-index-url =\n  {address}/second\n")
    assert versions(wheels, LINUX, ["a"], offline=False) == {"a": "2.0", "b": "1.0"}  # as in pip, the newest of all indexes
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{address}/nowhere")
    assert versions(wheels, LINUX, ["a"], offline=False) == {"a": "1.0", "b": "1.0"}  # variables come before files


def test_a_line_has_the_hashes_of_the_index(wheels: Path, served: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{served[0]}/first")
    digest = hashlib.sha256((wheels.parent / "first" / "b-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert add_hashes([Pin("b", Version("1.0"))], LINUX, wheels) == [f"b==1.0 --hash=sha256:{digest}"]
    with pytest.raises(UnreachableError, match=r"b==3\.0"):
        add_hashes([Pin("b", Version("3.0"))], LINUX, wheels)


def test_an_index_that_does_not_answer_is_said(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        versions(wheels, choose_targets()[0], ["a"], offline=False)


def test_settings_of_pip_become_options_of_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\ntimeout = 7\ncert = /ca.pem\ntrusted-host = a b\n[download]\ntimeout = 9\n[install]\ntimeout = 3\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/x /y")
    settings = read_pip_settings()
    assert uv_environment(settings) == {"SSL_CERT_FILE": "/ca.pem", "UV_HTTP_TIMEOUT": "9"}
    words = " ".join(uv_options(settings))
    for part in (f"--default-index {PYPI}", "--find-links /x --find-links /y", "--allow-insecure-host a --allow-insecure-host b"):
        assert part in words
    assert "--no-index" in uv_options({"no-index": "true", "index-url": "http://a"}) and "http://a" not in uv_options({"no-index": "1"})
