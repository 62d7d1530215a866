"""The installation from a folder and from a server, with tiny wheels, a real virtual environment and pip."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbtools.bundle import install
from tests.small_packages import write_clone, write_index, write_wheel
from tools.bundle import Sources, make_bundle

pytestmark = pytest.mark.xdist_group("install")

POSIX = pytest.mark.skipif(os.name != "posix", reason="install.sh is for POSIX systems")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, made once; tests use copies of it."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(write_index(place / "index"))}.items():
            patched.setenv(f"PIP_{name}", value)
        sources = Sources(write_clone(place / "clone"))
        return make_bundle(["mini"], place / "a stick", sources=sources, say=lambda text: None).folder


@pytest.fixture
def stick(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a stick"))


def run(bundle: Path, *arguments: str | Path, script: str = "install.py", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the bundle's script in the folder next to it; pip's index is set to an address that does not answer."""
    command = [sys.executable, str(bundle / script)] if script.endswith(".py") else ["sh", str(bundle / script)]
    unwanted = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONSTRAINT": "/no/such/file", "PYTHON": sys.executable}
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=bundle.parent, env={**os.environ, **unwanted, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def versions(folder: Path) -> str:
    python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    code = "import near, deep, posixonly; print(near.version, deep.version, posixonly.version)"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow(5)
@POSIX
def test_install_sh_installs_and_ends_with_the_check(stick: Path, tmp_path: Path) -> None:
    done = run(stick, "my course", script="install.sh")
    folder = tmp_path / "my course"
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(folder) == "1.5 2.0 1.0"
    assert json.loads((folder / "called.json").read_text()) == {
        "arguments": ["doctor", "--offline", "--profile", "mini"], "offline": "1", "pip": ["PIP_CONFIG_FILE"],
    }  # fmt: skip
    assert {path.name for path in (folder / "notebooks").iterdir()} == {"00_setup.ipynb", "01_attention.ipynb", "glossary.md"}
    assert json.loads((folder / "installed.json").read_text())["profiles"] == ["mini"] and not (folder / ".installing").exists()
    assert "HF_HUB_OFFLINE=1 exec .venv/bin/jupyter-lab" in (folder / "start.sh").read_text()
    assert done.stdout.splitlines()[-1] == f"Ready. To open the notebooks:  sh '{folder}'/start.sh"


@POSIX
def test_install_sh_without_a_suitable_python_says_which_one(stick: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = run(stick, "course", script="install.sh", PATH=str(tools), PYTHON="false")
    assert done.returncode == 1 and not (tmp_path / "course").exists()
    problem, remedy = done.stderr.splitlines()
    assert f"Python {sys.version_info[0]}.{sys.version_info[1]} is needed" in problem and "PYTHON=" in remedy


@pytest.mark.slow(6)
def test_a_second_installation_keeps_what_a_person_changed(stick: Path, tmp_path: Path) -> None:
    assert run(stick, "course").returncode == 0
    mine = tmp_path / "course" / "notebooks" / "00_setup.ipynb"
    mine.write_text("my work")
    (tmp_path / "course" / "notebooks" / "glossary.md").unlink()
    again = run(stick, "course")
    assert again.returncode == 0, again.stderr
    assert mine.read_text() == "my work" and (tmp_path / "course" / "notebooks" / "glossary.md").is_file()


@pytest.mark.slow(6)
def test_an_installation_that_fails_its_check_is_not_complete_and_can_be_continued(stick: Path, tmp_path: Path) -> None:
    done = run(stick, "course", DOCTOR_SAYS="1")
    assert done.returncode == 1 and "Ready" not in done.stdout and not (tmp_path / "course" / "installed.json").exists()
    assert run(stick, "course").returncode == 0 and (tmp_path / "course" / "installed.json").is_file()


@pytest.mark.parametrize("what", ["damaged", "missing"])
def test_a_damaged_or_missing_file_is_named_and_nothing_is_made(stick: Path, tmp_path: Path, what: str) -> None:
    wheel = stick / "wheels" / "near-1.5-py3-none-any.whl"
    if what == "damaged":
        content = bytearray(wheel.read_bytes())
        content[len(content) // 2] ^= 1
        wheel.write_bytes(content)
    else:
        wheel.unlink()
    done = run(stick, "course")
    assert done.returncode == 1 and not (tmp_path / "course").exists()
    assert f"wheels/near-1.5-py3-none-any.whl is {what}" in done.stderr and done.stderr.splitlines()[-1] == "  -> Copy the bundle again."


def put(stick: Path, name: str, content: bytes) -> None:
    """Change a file together with its checksum, as an attacker would."""
    (stick / name).parent.mkdir(parents=True, exist_ok=True)
    (stick / name).write_bytes(content)
    lines = [line for line in (stick / "SHA256SUMS").read_text().splitlines() if not line.endswith(f"  {name}")]
    (stick / "SHA256SUMS").write_text("\n".join([*lines, f"{hashlib.sha256(content).hexdigest()}  {name}"]) + "\n")


def test_a_wheel_that_leads_out_of_its_folder_is_refused_before_anything_is_made(stick: Path, tmp_path: Path) -> None:
    evil = write_wheel(tmp_path / "evil", "near", "1.5", members=["../../../evil.py"])
    put(stick, "wheels/near-1.5-py3-none-any.whl", evil.read_bytes())
    done = run(stick, "course")
    assert done.returncode == 1 and "leads out of its folder" in done.stderr
    assert not (tmp_path / "course").exists() and list(tmp_path.rglob("evil.py")) == []


def test_a_wheel_other_than_the_one_required_is_not_installed(stick: Path, tmp_path: Path) -> None:
    """pip compares checksums too: those in the requirements file."""
    other = write_wheel(tmp_path / "other", "near", "1.5", requires=["deep"])
    put(stick, "wheels/near-1.5-py3-none-any.whl", other.read_bytes())
    done = run(stick, "course")
    assert done.returncode == 1 and "DO NOT MATCH THE HASHES" in done.stderr and not (tmp_path / "course" / "installed.json").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil", ""])
def test_a_checksum_of_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(install.InstallError, match="not a checksum"):
        install.read_sums(tmp_path)


def test_a_folder_with_other_files_is_not_changed(stick: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"sea")
    done = run(stick, "holiday")
    assert done.returncode == 1 and "holds other things" in done.stderr
    assert [path.name for path in (tmp_path / "holiday").iterdir()] == ["photo.jpg"]


def test_a_bundle_for_another_machine_is_refused_with_its_name(stick: Path, tmp_path: Path) -> None:
    manifest = json.loads((stick / "bundle.json").read_text())
    manifest["targets"] = {"amiga-68000-py3.11": {"requirements": "none", "wheels": []}}
    put(stick, "bundle.json", json.dumps(manifest).encode())
    done = run(stick, "course")
    assert done.returncode == 1 and f"This is {install.this_target()}, and the bundle is for amiga-68000-py3.11." in done.stderr
    assert not (tmp_path / "course").exists()


def test_a_folder_that_is_not_a_bundle(stick: Path, tmp_path: Path) -> None:
    (stick / "SHA256SUMS").unlink()
    done = run(stick, "course")
    assert done.returncode == 1 and "is not a bundle of the course" in done.stderr and "Traceback" not in done.stderr


def test_too_little_disk_space_is_an_error_before_anything_is_installed(
    stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10**6))  # type: ignore[attr-defined]
    with pytest.raises(install.InstallError, match=r"needs 0\.2 GB of disk; 0\.0 GB are free"):
        install.install(stick, tmp_path / "course")
    assert not (tmp_path / "course" / ".venv").exists()


@pytest.fixture
def served(stick: Path) -> Iterator[tuple[str, list[str]]]:
    """The bundle served by `python -m http.server`: the address, and the requested paths."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(stick)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.slow(6)
def test_a_served_bundle_is_fetched_checked_and_installed(stick: Path, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    address, asked = served
    put(stick, "wheels/elsewhere-1.0-py3-none-win_amd64.whl", b"for another machine")
    done = run(stick, "--from", address, "course", http_proxy="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert versions(tmp_path / "course") == "1.5 2.0 1.0" and not [path for path in asked if "elsewhere" in path]
    before = len(asked)
    assert run(stick, "--from", address, "course").returncode == 0
    # The rest is there and intact.
    assert asked[before:] == ["/SHA256SUMS", "/SHA256SUMS", "/bundle.json"]


def test_a_served_bundle_that_is_damaged_is_not_installed(stick: Path, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    (stick / "wheels" / "near-1.5-py3-none-any.whl").write_bytes(b"something else")
    done = run(stick, "--from", served[0], "course")
    assert done.returncode == 1 and "wheels/near-1.5-py3-none-any.whl is damaged" in done.stderr
    assert not (tmp_path / "course" / ".venv").exists()


@pytest.mark.slow(4)
def test_pip_alone_installs_from_the_server_with_find_links(tmp_path: Path, served: tuple[str, list[str]]) -> None:
    """The commands in START.txt for an existing environment."""
    address, _ = served
    target = tmp_path / "packages"
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--no-index", "--target", str(target)]
    requirements = f"{address}/requirements-{install.this_target()}.txt"
    done = subprocess.run(
        [*command, "--find-links", f"{address}/wheels/", "-r", requirements],
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (target / "near").is_dir() and (target / "nbtools").is_dir()


def test_a_server_that_does_not_answer_or_has_something_else(stick: Path, tmp_path: Path, served: tuple[str, list[str]]) -> None:
    for address in ("http://127.0.0.1:9", f"{served[0]}/wheels", "file.txt"):
        done = run(stick, "--from", address, "course")
        assert done.returncode == 1 and "does not give the bundle" in done.stderr, address
        assert len(done.stderr.splitlines()) == 2


def test_start_txt_lists_the_contents(made: Path) -> None:
    text = (made / "START.txt").read_text()
    named = re.findall(r"\b(?:install\.\w+|requirements-\S+\.txt|SHA256SUMS)", text)
    assert {"install.sh", "install.bat", "install.py", "SHA256SUMS", f"requirements-{install.this_target()}.txt"} == set(named)
    for name in named:
        assert (made / name).is_file(), name
    assert "$" not in text and install.DEFAULT_FOLDER in text
