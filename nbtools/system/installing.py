"""Run pip or uv as a child process, with a progress bar, and recognize that no package index answered."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nbtools.system.progress import progress

UNREACHABLE = (
    "Connection refused",
    "Failed to establish",
    "Failed to fetch",
    "NameResolutionError",
    "NewConnectionError",
    "ProxyError",
    "Retrying (",
    "SSLError",
)
POLL_SECONDS = 0.2


def run_installer(command: Sequence[str], folder: Path, label: str, total_bytes: int | None = None) -> tuple[int, str]:
    """Run a command of pip or uv, and return its exit code and everything that it printed. An interrupt also ends the command.

    command      the program and its arguments
    folder       for its downloads and temporary files
    label        in front of the progress bar
    total_bytes  the expected size of its downloads, if known: the end of the bar
    """
    log = folder / "log.txt"
    environment = os.environ | dict.fromkeys(["TMPDIR", "TEMP", "TMP"], str(folder))
    total = None if total_bytes is None else total_bytes // 10**6
    with log.open("wb") as output, progress(range(0), label, total=total, unit="MB") as bar:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while child.poll() is None:
                done = _bytes_under(folder) // 10**6
                bar.update((done if total is None else min(done, total)) - bar.n)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    return child.returncode, log.read_text(encoding="utf8", errors="replace")


def index_unreachable(log: str) -> bool:
    """Whether the output of pip or uv means that no package index answered."""
    return any(word in log for word in UNREACHABLE)


def _bytes_under(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # deleted since it was listed
                total += Path(root, name).stat().st_size
    return total
