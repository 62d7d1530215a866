"""Making a bundle, with a real pip, a real uv, and small wheels from a folder; no network."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nbtools.bundle import check_bundle
from nbtools.errors import CourseError, InputError, MachineError, RunError, UnreachableError
from tests.small_packages import write_clone, write_index, write_simple_index, write_wheel
from tools.bundle import Made, Sources, choose_targets, downloads, make_bundle, making


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip takes wheels from one folder only."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = write_index(tmp_path / "index")
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(folder), "DISABLE_PIP_VERSION_CHECK": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return write_clone(tmp_path / "clone")


def make(out: Path, clone: Path, **options: Any) -> Made:
    return make_bundle(["mini"], out, **{"sources": Sources(clone), "say": lambda text: None} | options)


def wheels_of(bundle: Path) -> set[str]:
    return {path.name for path in (bundle / "wheels").iterdir() if not path.name.startswith("pip-")}


def test_a_bundle_holds_what_is_needed_and_nothing_else(tmp_path: Path, clone: Path) -> None:
    made = make(tmp_path / "stick", clone)
    stick = made.folder
    assert made.changed and made.wheels == 5
    assert wheels_of(stick) == {
        "attention_to_finetuning-0.1.0-py3-none-any.whl", "near-1.5-py3-none-any.whl", "deep-2.0-py3-none-any.whl",
        "posixonly-1.0-py3-none-any.whl",
    }  # fmt: skip
    assert {path.name for path in (stick / "notebooks").iterdir()} == {"00_setup.ipynb", "01_attention.ipynb", "glossary.md"}
    [target] = choose_targets()
    names = {
        "SHA256SUMS",
        "bundle.json",
        "START.txt",
        "install.sh",
        "install.bat",
        "install.py",
        f"requirements-{target.name}.txt",
        ".nbtools.json",
    }
    assert {path.name for path in stick.iterdir()} == names | {"wheels", "notebooks"}
    assert [path.name for path in tmp_path.iterdir() if "stick" in path.name] == ["stick"]  # no work folder, no lock
    manifest = json.loads((stick / "bundle.json").read_text())
    assert manifest["profiles"] == ["mini"] and manifest["models"] == [] and list(manifest["targets"]) == [target.name]
    assert made.bytes == sum(
        path.stat().st_size
        for path in stick.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "bundle.json", ".nbtools.json")
    )


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_checksums_are_what_sha256sum_takes(tmp_path: Path, clone: Path) -> None:
    stick = make(tmp_path / "stick", clone).folder

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=stick, capture_output=True, text=True, check=False)

    files = {path.relative_to(stick).as_posix() for path in stick.rglob("*") if path.is_file()} - {"SHA256SUMS", ".nbtools.json"}
    done = check()
    assert done.returncode == 0 and set(done.stdout.splitlines()) == {f"{name}: OK" for name in files}
    (stick / "START.txt").write_text("changed")
    assert check().returncode == 1
    assert check_bundle(stick) == ["START.txt is damaged: its SHA-256 is not the one in SHA256SUMS"]


@pytest.mark.slow(4)
def test_a_second_call_downloads_nothing_and_changes_nothing(tmp_path: Path, clone: Path, index: Path) -> None:
    stick = make(tmp_path / "stick", clone).folder
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in stick.rglob("*")}
    shutil.rmtree(index)
    assert not make(stick, clone).changed
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in stick.rglob("*")} == before


@pytest.mark.slow(4)
def test_changed_sources_make_a_new_bundle_from_the_wheels_that_are_there(tmp_path: Path, clone: Path, index: Path) -> None:
    stick = make(tmp_path / "stick", clone).folder
    shutil.rmtree(index)
    (clone / "notebooks" / "glossary.md").write_text("# More words\n")
    assert make(stick, clone).changed
    assert (stick / "notebooks" / "glossary.md").read_text() == "# More words\n" and check_bundle(stick) == []


@pytest.mark.slow(5)
def test_a_damaged_wheel_is_said_and_brought_again(tmp_path: Path, clone: Path) -> None:
    stick = make(tmp_path / "stick", clone).folder
    wheel = stick / "wheels" / "near-1.5-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-40])
    (stick / "install.sh").unlink()
    said: list[str] = []
    assert make(stick, clone, say=said.append).changed
    assert [line for line in said if "near-1.5" in line and "damaged" in line] and [
        line for line in said if "install.sh is missing" in line
    ]
    assert check_bundle(stick) == []


@pytest.mark.slow(5)
def test_what_an_interrupted_call_brought_is_used(tmp_path: Path, clone: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(making, "write_bundle", stop)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "stick", clone)
    assert not (tmp_path / "stick").exists()
    (index / "near-1.5-py3-none-any.whl").unlink()
    (tmp_path / ".stick.work" / "wheels" / "deep-2.0-py3-none-any.whl").write_bytes(b"half a wheel")
    said: list[str] = []
    assert make(tmp_path / "stick", clone, say=said.append).wheels == 5
    assert [line for line in said if "deep-2.0" in line and "downloaded again" in line]


@pytest.mark.slow(5)
def test_another_platform_gets_its_own_wheels_by_its_own_markers(tmp_path: Path, clone: Path) -> None:
    stick = make(tmp_path / "stick", clone, targets=choose_targets(["windows-x86_64", "macos-arm64"], ["3.12"])).folder
    manifest = json.loads((stick / "bundle.json").read_text())
    windows, macos = (set(manifest["targets"][f"{name}-py3.12"]["wheels"]) for name in ("windows-x86_64", "macos-arm64"))
    assert windows - macos == {"windowsonly-1.0-py3-none-win_amd64.whl"} and macos - windows == {"posixonly-1.0-py3-none-any.whl"}
    text = (stick / "requirements-windows-x86_64-py3.12.txt").read_text()
    assert "windowsonly==1.0 --hash=sha256:" in text and "posixonly" not in text
    assert b"for %%v in (3.12) do (\r\n" in (stick / "install.bat").read_bytes()


@pytest.mark.slow(5)
def test_torch_and_nothing_else_comes_from_its_own_index(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without CUDA, which has the same version but for the local part, is taken, and what CUDA needs is left out."""
    write_wheel(index, "torch", "2.0", ["cuda"])
    write_wheel(index, "cuda")
    write_wheel(index, "near", "1.6")
    tag = "cp312-cp312-manylinux_2_28_x86_64"
    other = [write_wheel(tmp_path / "other", "torch", "2.0+cpu", tag=tag), write_wheel(tmp_path / "other", "near", "1.9")]
    write_simple_index(tmp_path / "simple", [*index.glob("*.whl")])
    write_simple_index(tmp_path / "cpu", other)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    clone = write_clone(tmp_path / "clone", ("near", "torch"))
    targets = choose_targets(["linux-x86_64", "windows-x86_64"], ["3.12"])
    stick = make(tmp_path / "stick", clone, targets=targets, sources=Sources(clone, (tmp_path / "cpu").as_uri())).folder
    linux, windows = (set(json.loads((stick / "bundle.json").read_text())["targets"][target.name]["wheels"]) for target in targets)
    assert f"torch-2.0+cpu-{tag}.whl" in linux and not any(name.startswith("cuda") for name in linux)
    assert "torch-2.0-py3-none-any.whl" in windows and "cuda-1.0-py3-none-any.whl" in windows
    assert "near-1.6-py3-none-any.whl" in linux & windows


def test_smollm2_is_carried_as_it_was_converted(tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "cache" / "smollm2"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(making.smollm2, "fetch", lambda verbose: model)
    stick = make_bundle(["mini", "smollm2"], tmp_path / "stick", sources=Sources(clone), say=lambda text: None).folder
    assert (stick / "models" / "smollm2" / "model.safetensors").read_bytes() == b"weights"
    assert "  models/smollm2/model.safetensors\n" in (stick / "SHA256SUMS").read_text()
    assert "--profile mini --profile smollm2" in (stick / "START.txt").read_text()


def refused(error: type[CourseError], words: str, out: Path, call) -> None:
    """The call fails in two lines, and nothing has the bundle's name."""
    with pytest.raises(error) as caught:
        call()
    assert words in caught.value.problem and "\n" not in caught.value.problem and "\n" not in caught.value.remedy
    assert not out.exists()


@pytest.mark.parametrize(("profile", "words"), [("minni", "no profile called 'minni'"), ("gpt2", "Hugging Face Hub and is not carried")])
def test_a_profile_that_is_not_carried(tmp_path: Path, clone: Path, profile: str, words: str) -> None:
    out = tmp_path / "stick"
    refused(InputError, words, out, lambda: make_bundle([profile], out, sources=Sources(clone)))
    assert [path.name for path in tmp_path.iterdir() if "stick" in path.name] == []


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, clone: Path) -> None:
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "photo.jpg").write_bytes(b"sea")
    with pytest.raises(InputError, match="is not a bundle"):
        make(out, clone)
    assert [path.name for path in out.iterdir()] == ["photo.jpg"]


def test_a_wheel_that_the_index_lacks(tmp_path: Path, clone: Path, index: Path) -> None:
    for name in ("deep-2.0", "near-1.4"):  # near 1.4 does not need deep
        (index / f"{name}-py3-none-any.whl").unlink()
    refused(UnreachableError, "deep==2.0", tmp_path / "stick", lambda: make(tmp_path / "stick", clone))


@pytest.mark.slow(4)
def test_a_wheel_other_than_the_index_says_is_refused(tmp_path: Path, clone: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simple = write_simple_index(tmp_path / "simple", [*index.glob("*.whl")])
    write_wheel(simple / "deep", "deep", "2.0", ["near"])
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", simple.as_uri())
    refused(UnreachableError, "DO NOT MATCH THE HASHES", tmp_path / "stick", lambda: make(tmp_path / "stick", clone))


def test_a_wheel_that_leads_out_of_its_folder(tmp_path: Path, clone: Path, index: Path) -> None:
    write_wheel(index, "deep", "2.0", members=["../../evil.py"])
    refused(InputError, "leads out of its folder", tmp_path / "stick", lambda: make(tmp_path / "stick", clone))
    assert list(tmp_path.rglob("evil.py")) == []


def test_a_full_disk(tmp_path: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    refused(MachineError, "is full", tmp_path / "stick", lambda: make(tmp_path / "stick", clone))


def test_two_calls_at_once(tmp_path: Path, clone: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".stick.lock"):
        refused(RunError, "Another call", tmp_path / "stick", lambda: make(tmp_path / "stick", clone))


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("ERROR: No matching distribution found for torch==2.13.0", "no wheel of torch==2.13.0 for there"),
        ("WARNING: Retrying (Retry(total=4\nERROR: No matching distribution found for torch", "cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "is full"),
        (
            "  × No solution found when resolving dependencies:\n  ╰─▶ Because a\n      needs b,\n      no.\n",
            "for there: Because a needs b, no.",
        ),
        ("error: Failed to fetch: `http://x/a/`", "cannot be reached"),
        ("Collecting a\nERROR: something new\nmore", "something new"),
        ("", "no output"),
    ],
)
def test_what_pip_and_uv_say_becomes_two_lines(log: str, words: str, tmp_path: Path) -> None:
    assert words in downloads.explain(log, "there", tmp_path).problem


def test_a_folder_that_is_no_bundle_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle"):
        check_bundle(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  ../../etc/passwd\n")
    with pytest.raises(InputError, match="not a checksum"):
        check_bundle(tmp_path)


@pytest.mark.long
def test_the_real_course_makes_a_bundle_that_pip_can_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pip's own settings, some hundred wheels: the installation is resolved from the bundle alone, with every checksum."""
    import sys

    monkeypatch.undo()
    stick = make_bundle(["mini"], tmp_path / "stick").folder
    assert check_bundle(stick) == []
    [requirements] = stick.glob("requirements-*.txt")
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--ignore-installed", "--no-index", "--require-hashes"]
    done = subprocess.run([*command, "--find-links", stick / "wheels", "-r", requirements], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not make_bundle(["mini"], stick).changed
