"""Offline means offline: representative work opens no socket beyond this machine, and does the same where there is no network at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WORK = """
import sys
from pathlib import Path
import nbtools

here = Path(sys.argv[1])
lm = nbtools.load_model("mini", verbose=False)
reviews = nbtools.load_reviews(max_reviews=40)
print(nbtools.generate(lm, "The movie was", max_new_tokens=5, seed=1))
views = [nbtools.PromptLab(lm, "A film", max_new_tokens=2), nbtools.AttentionExplorer(lm, "A film"), nbtools.Microscope(lm, lm, "A film")]
packed = nbtools.pack(reviews.train, lm, 64)
views += [nbtools.TokenInspector(lm, packed)]
before = nbtools.evaluate(lm, reviews.validation)
nbtools.finetune(lm, packed, output_dir=here / "tuned", max_steps=3, batch_size=2, dtype="fp32", compile=False, threads=1)
assert nbtools.evaluate(lm, reviews.validation).perplexity != before.perplexity
views += [nbtools.TrainingMonitor(here / "tuned")]
assert all(view.static_html() for view in views)
assert nbtools.load_model(str(here / "tuned" / "model"), verbose=False).parameters == lm.parameters
if len(sys.argv) > 2:
    from nbtools.health import doctor
    assert doctor().ok
print("WORKED", flush=True)
"""
COMMANDS = [
    ["-m", "nbtools.cli", "run", "note.ipynb", "--out", "run"],
    ["-m", "nbtools.cli", "report", "run"],
]


def environment(folder: Path, **more: str) -> dict[str, str]:
    guard = folder / "guard"
    guard.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("guard.py"), guard / "sitecustomize.py")
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    path = os.pathsep.join([str(guard), str(ROOT)])
    apart = {"PYTHONPATH": path, "NOTED": str(folder / "noted"), "NBTOOLS_PROGRESS": "0"}
    return {**kept, **apart, "OMP_NUM_THREADS": "1", "NBTOOLS_KERNEL": "0", **more}


def run(folder: Path, arguments: list[str], variables: dict[str, str], before: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [*(before or []), sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def noted(folder: Path) -> str:
    return (folder / "noted").read_text(encoding="utf8") if (folder / "noted").exists() else ""


@pytest.mark.slow
def test_no_socket_is_opened_beyond_this_machine_when_offline_was_asked(tmp_path: Path) -> None:
    from tests.runs.small_notebooks import write_notebook

    write_notebook(tmp_path, "note", "import nbtools.system; print(nbtools.system.hub_state(), 'the kernel answered')")
    variables = environment(tmp_path, HF_HUB_OFFLINE="1")
    done = run(tmp_path, ["-c", WORK, str(tmp_path), "with doctor"], variables)
    assert done.returncode == 0 and "WORKED" in done.stdout, done.stderr[-3000:]
    for command in COMMANDS:
        done = run(tmp_path, command, variables)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    assert "off the kernel answered" in (tmp_path / "run" / "note.ipynb").read_text(encoding="utf8"), (
        "loopback, which kernels need, is open"
    )
    assert noted(tmp_path) == ""


@pytest.mark.parametrize("address", ["http://192.0.2.1/", "http://example.org/"])
def test_the_guard_would_have_noticed(address: str, tmp_path: Path) -> None:
    code = f"import urllib.request; urllib.request.urlopen({address!r}, timeout=3)"
    assert "lets nothing go beyond" in run(tmp_path, ["-c", code], environment(tmp_path)).stderr
    assert noted(tmp_path)


def without_network() -> list[str] | str:
    """The words before a command that take every network but nothing else from it, or why there are none."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "there is no command unshare here"
    for words in ([unshare, "-n"], [unshare, "-rn"]):
        done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return words
    return f"no namespace can be made here: {done.stderr.strip()}"


@pytest.mark.slow
def test_the_same_work_is_done_where_there_is_no_network_and_nobody_said_so(tmp_path: Path) -> None:
    """Not even loopback is up there, and HF_HUB_OFFLINE is not set: what mini and the reviews need is here, and nothing waits."""
    words = without_network()
    if isinstance(words, str):
        pytest.skip(words)
    variables = environment(tmp_path)
    variables.pop("HF_HUB_OFFLINE", None)
    seen = run(tmp_path, ["-c", "import socket; print(socket.if_nameindex())"], variables, words).stdout
    assert seen.count("'") == 2 and "'lo'" in seen, "the namespace has an interface beside loopback"
    done = run(tmp_path, ["-c", WORK, str(tmp_path)], variables, words)
    assert done.returncode == 0 and "WORKED" in done.stdout, done.stderr[-3000:]
    assert noted(tmp_path) == ""
