"""doctor on this machine, on simulated ones, and where packages are missing or broken."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import types
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import nbtools
from nbtools.health import Check, Health, checks, doctor, ladder, packages
from nbtools.profiles import PROFILES
from nbtools.system import compute, hub
from nbtools.system.compute import NumberFormat

ROOT = Path(nbtools.__file__).parent.parent
TOKEN = "hf_" + "Zq7Xw9Kv2Rb5Nj8" * 2
GB = 10**9


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Hub, an empty cache, no token from the environment, no speed measurement."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("nbtools.system.choose_dtype", lambda: NumberFormat("fp32", "a test", {"fp32": 100.4, "bf16": 90.0}))


def named(health: Health, name: str) -> Check:
    return next(check for check in health.checks if check.name == name)


def test_doctor_on_this_machine() -> None:
    health = doctor()
    names = [check.name for check in health.checks]
    assert len(names) == len(set(names))
    for name in (
        "Python",
        "packages",
        "host",
        "device",
        "threads",
        "number format",
        "memory",
        "disk for caches",
        "disk for runs",
        "Hub",
        "Hub token",
    ):
        assert named(health, name).value
    assert [name for name in names if name.startswith("profile ")] == [f"profile {name}" for name in PROFILES]
    assert named(health, "profile mini").level == "ok" and health.ok
    assert named(health, "number format").value == "fp32: a test [fp32 100 GFLOP/s, bf16 90 GFLOP/s]"
    assert named(health, "profile gpt2").value == "not here: not downloaded, and the Hub is switched off"


def test_speed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_DEVICE", "cpu")
    monkeypatch.setattr("nbtools.system.choose_dtype", compute.choose_dtype)
    monkeypatch.setattr(compute, "measure_matmul", lambda dtype, **_: 300.0 if "bfloat16" in str(dtype) else 100.0)
    compute.choose_dtype.cache_clear()
    try:
        value = next(check.value for check in checks._device() if check.name == "number format")
    finally:
        compute.choose_dtype.cache_clear()
    assert value == "bf16: matrix products run 3.0 times as fast as in fp32 here (measured) [fp32 100 GFLOP/s, bf16 300 GFLOP/s]"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"COLAB_RELEASE_TAG": "release-colab_20260801"}, "Google Colab"),
        ({"BINDER_LAUNCH_HOST": "https://mybinder.org/", "JUPYTERHUB_USER": "jovyan"}, "Binder"),
        ({"JUPYTERHUB_USER": "ada"}, "JupyterHub"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive", "COLAB_RELEASE_TAG": "release-colab_20260801"}, "Kaggle"),
        ({"VSCODE_PID": "77"}, "VS Code"),
        ({}, "this computer"),
    ],
)
def test_every_host_is_named(variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("COLAB_", "BINDER_", "JUPYTERHUB_", "KAGGLE_", "VSCODE_")) or name == "TERM_PROGRAM":
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert checks._host()[0].value.startswith(f"{words} (")


def every_form(health: Health) -> str:
    from rich.console import Console

    console = Console(width=300, record=True, file=io.StringIO())
    console.print(health.table())
    return "\n".join([repr(health), health._repr_html_(), json.dumps(health.to_dict()), console.export_text()])


@pytest.mark.parametrize(
    "place", ["environment variable HF_TOKEN", "environment variable MY_SECRET", "token file", "Colab secret MY_SECRET"]
)
def test_a_token_is_found_and_never_shown(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if place == "token file":
        (tmp_path / "token").write_text(TOKEN)
    elif place.startswith("Colab"):
        vault = types.ModuleType("google.colab")
        vault.userdata = types.SimpleNamespace(get={"MY_SECRET": TOKEN}.__getitem__)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
        monkeypatch.setitem(sys.modules, "google.colab", vault)
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab_20260819")
        monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    else:
        monkeypatch.setenv(place.split()[-1], TOKEN)
    health = doctor(hub_secret="MY_SECRET")
    assert named(health, "Hub token").value == f"set ({place})"
    shown = every_form(health) + "".join(capfd.readouterr())
    assert not any(TOKEN[start : start + 6] in shown for start in range(len(TOKEN) - 5))


def test_a_token_given_instead_of_a_name_is_not_echoed() -> None:
    assert TOKEN not in every_form(doctor(hub_secret=TOKEN))


def test_no_token() -> None:
    assert named(doctor(), "Hub token") == Check("Hub token", "not set; GPT-2 and the reviews need none")


def test_low_memory_fails_mini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_DEVICE", "cpu")
    monkeypatch.setattr("nbtools.system.available_memory", lambda: 9 * GB // 10)
    health = doctor()
    assert not health.ok and named(health, "memory").value.startswith("0.90 GB free of ")
    mini = named(health, "profile mini")
    assert mini.level == "fail" and "fine-tuning needs 1.2 GB of memory, 0.90 GB are free" in mini.value and mini.advice
    assert "profile mini" in health.verdict


def test_a_limit_below_the_machines_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container of 2 GB on a large machine, "free of 64 GB" would be wrong."""
    monkeypatch.setattr("nbtools.system.available_memory", lambda: 3 * GB // 2)
    monkeypatch.setattr("nbtools.system.total_memory", lambda: 2 * GB)
    assert named(doctor(), "memory").value.startswith("1.5 GB free of 2.0 GB (a limit set here; the machine has ")


def test_full_disk_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from shutil import _ntuple_diskusage

    monkeypatch.setattr(checks.shutil, "disk_usage", lambda place: _ntuple_diskusage(GB, GB, 1000))
    health = doctor()
    assert {named(health, name).level for name in ("disk for caches", "disk for runs")} == {"fail"} and not health.ok


def test_cache_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "file" / "cache"))
    health = doctor()
    assert named(health, "disk for caches").level == "fail" and "NBTOOLS_CACHE" in named(health, "disk for caches").advice


LARGE = ladder.Machine(memory=64 * GB, disk=100 * GB, hub="reachable", gguf=True)


def changed(**values: object) -> ladder.Machine:
    return ladder.Machine(**{**LARGE.__dict__, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profile", "machine", "stored", "level", "words"),
    [
        ("mini", LARGE, True, "ok", "usable"),
        ("mini", LARGE, False, "fail", "files are missing"),
        ("mini", changed(memory=GB), True, "fail", "fine-tuning needs 1.2 GB"),
        ("smollm2", LARGE, False, "ok", "usable, after `nbtools fetch smollm2` (93 MB)"),
        ("smollm2", changed(gguf=False), False, "warn", "gguf is missing"),
        ("smollm2", changed(gguf=False), True, "ok", "usable"),
        ("smollm2", changed(disk=GB // 2), False, "warn", "needs 0.73 GB of disk, 0.50 GB are free"),
        ("smollm2", changed(memory=2 * GB), True, "warn", "reading and sampling only: fine-tuning needs 5.0 GB of memory, 2.0 GB are free"),
        ("smollm2", changed(memory=GB), True, "warn", "not here: fine-tuning needs"),
        ("gpt2", LARGE, False, "ok", "usable, downloaded when first used (548 MB)"),
        ("gpt2", changed(hub="off"), False, "warn", "switched off"),
        ("gpt2", changed(hub="unreachable"), False, "warn", "does not answer"),
        ("gpt2", changed(hub="off", disk=0), True, "ok", "usable"),
        ("gpt2-large", changed(memory=8 * GB, disk=GB), False, "warn", "needs 3.2 GB of disk, 1.0 GB are free"),
    ],
)
def test_verdict_on_a_profile(profile: str, machine: ladder.Machine, stored: bool, level: str, words: str) -> None:
    check = ladder.judge(PROFILES[profile], machine, stored)
    assert check.level == level and words in check.value
    assert bool(check.advice) == (level != "ok")


class Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *given: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(("status", "expected"), [(200, True), (401, True), (502, False)])
def test_hub_that_answers(server: str, status: int, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answer, "status", status)
    assert hub.answers(server, 5) is expected


def test_hub_that_refuses_or_does_not_answer() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts the connection and never answers
        assert hub.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2) is False
    assert hub.answers("http://127.0.0.1:9", 5) is False
    assert hub.answers("not an address", 5) is False


def test_hub_is_asked_once_and_only_its_host_is_shown(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    asked: list[str] = []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "ENDPOINT", server.replace("http://", "http://user:password@"))
    monkeypatch.setattr(hub, "answers", lambda address, seconds: bool(asked.append(address)))
    health = doctor()
    assert len(asked) == 1 and named(health, "Hub").level == "warn" and health.ok
    assert "password" not in every_form(health)


def run_python(code: str, *options: str, **environment: str) -> dict[str, object]:
    """Run `code` in a new interpreter that has the repository on its path; the last line of its output is JSON."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | environment
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


REPORT = """
import json
from nbtools.health import doctor
health = doctor()
repr(health), health._repr_html_()
print(json.dumps(health.to_dict()))
"""
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise {error}
sys.meta_path.insert(0, Block())
"""


def test_doctor_runs_without_any_package() -> None:
    """`python -S` leaves the installed packages out."""
    found = run_python(REPORT, "-S")
    levels = {check["name"]: check["level"] for check in found["checks"]}  # type: ignore[attr-defined]
    assert found["ok"] is False and levels["package torch"] == levels["package transformers"] == levels["device"] == "fail"
    assert levels["Python"] == levels["disk for runs"] == "ok"


@pytest.mark.slow(4)
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("torch", "ModuleNotFoundError('No module named torch')", "No module named torch"),
        ("torch", "OSError('libtorch_cpu.so: cannot open shared object file')", "libtorch_cpu.so"),
        ("psutil", "ImportError('psutil is blocked')", "psutil is blocked"),
    ],
)
def test_broken_import_is_reported(name: str, error: str, words: str) -> None:
    found = run_python(BLOCK.format(name=name, error=error) + REPORT)
    check = next(check for check in found["checks"] if check["name"] == f"package {name}")  # type: ignore[attr-defined]
    assert found["ok"] is False and check["level"] == "fail" and words in check["value"] and "force-reinstall" in check["advice"]


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.installed_version
    monkeypatch.setattr(packages, "installed_version", lambda name: {"torch": "1.13.1+cu117", "datasets": None}.get(name, real(name)))
    found, versions = packages.examine_packages()
    by_name = {check.name: check for check in found}
    assert by_name["package datasets"].value == "not installed" and by_name["package datasets"].level == "fail"
    assert by_name["package torch"].value == f"1.13.1+cu117 is too old: {versions['torch']['required']} is needed"


def test_newer_package_is_reported_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.installed_version
    monkeypatch.setattr(packages, "installed_version", lambda name: "99.0" if name == "transformers" else real(name))
    check = next(check for check in packages.examine_packages()[0] if check.name == "packages")
    assert check.level == "ok" and f"transformers 99.0 ({TESTED['core']['transformers']})" in check.value


def test_older_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.platform, "python_version_tuple", lambda: ("3", "10", "14"))
    assert packages._python("3.11").level == "fail"
    monkeypatch.setattr(packages.platform, "python_version_tuple", lambda: ("3", "14", "0"))
    monkeypatch.setattr(packages.platform, "python_version", lambda: "3.14.0")
    assert packages._python("3.11").level == "ok" and "tested with 3.11" in packages._python("3.11").value


def test_hosts_with_their_own_page_need_no_jupyterlab(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"papermill": {"installed": "2.7.0"}, "jupyterlab": {"installed": None}}
    monkeypatch.setattr("nbtools.system.host.name_host", lambda: "colab")
    assert packages._notebook_tools(versions).level == "ok"  # type: ignore[arg-type]
    monkeypatch.setattr("nbtools.system.host.name_host", lambda: "local")
    assert packages._notebook_tools(versions).level == "warn"  # type: ignore[arg-type]


TESTED = json.loads(packages.TESTED.read_text(encoding="utf8"))


def test_tested_versions_are_those_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    pins = dict(match.groups() for line in lines if (match := re.match(r"([\w.-]+)==([\w.]+)", line)))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    for name, version in (TESTED["core"] | TESTED["optional"]).items():
        assert pins.get(name) == version, name


def test_every_required_package_has_a_tested_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    assert project["name"] == packages.DISTRIBUTION
    assert sorted(TESTED["core"]) == sorted(re.match(r"[\w-]+", line).group() for line in project["dependencies"])  # type: ignore[union-attr]


def test_one_failure_decides() -> None:
    assert Health((Check("a", "1"), Check("b", "2", "warn", "do"))).ok
    failed = Health(tuple(Check(name, "x", "fail", "do") for name in "abcde"))
    assert not failed.ok and failed.verdict == "The course cannot run here yet: see a, b, c and 2 more."


def test_text_form_is_aligned() -> None:
    health = Health((Check("Python", "3.11.7"), Check("profile mini", "not here", "fail", "Do this.")))
    assert repr(health) == (
        "The course cannot run here yet: see profile mini.\n\n"
        "ok    Python        3.11.7\n"
        "fail  profile mini  not here\n"
        "                    -> Do this."
    )


def test_notebook_form_is_escaped_and_complete() -> None:
    class Rows(HTMLParser):
        tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.tags.append(tag)

    html = Health((Check("<script>", "<img src=x onerror=alert(1)>", "warn", "a & b"),))._repr_html_()
    rows = Rows()
    rows.feed(html)
    assert "script" not in rows.tags and "img" not in rows.tags and rows.tags.count("tr") == 2
    assert "a &amp; b" in html


def test_terminal_form_shows_square_brackets() -> None:
    """rich would interpret [text] as markup and remove it."""
    assert (
        "pip install -e '.[run]'"
        in every_form(Health((Check("tools", "none [bold]", "warn", "pip install -e '.[run]'"),))).split("\n\n")[-1]
    )
