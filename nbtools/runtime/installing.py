"""Run pip or uv as a child process, with a bar drawn from the bytes that arrive, and tell the two failures that are nobody's code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nbtools.runtime.progress import progress

UNREACHABLE = (
    "Retrying (", "NewConnectionError", "Connection refused", "Failed to establish", "Failed to fetch", "ProxyError", "SSLError",
    "NameResolutionError",
)  # fmt: skip
LOOK_SECONDS = 0.2


def run_installer(command: Sequence[str], folder: Path, label: str, total_bytes: int | None = None) -> tuple[int, str]:
    """Run `command`, whose downloads and temporary files go below `folder`; its exit code and all that it printed.

    The child is ended when this is interrupted. total_bytes  that are awaited, for the bar to know its end
    """
    log = folder / "log.txt"
    environment = os.environ | dict.fromkeys(["TMPDIR", "TEMP", "TMP"], str(folder))
    total = None if total_bytes is None else total_bytes // 10**6
    with log.open("wb") as output, progress(range(0), label, total=total, unit="MB") as bar:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while not _ended(child):
                there = _bytes_under(folder) // 10**6
                bar.update((there if total is None else min(there, total)) - bar.n)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    return child.returncode, log.read_text(encoding="utf8", errors="replace")


def index_unreachable(log: str) -> bool:
    """Whether what pip or uv printed says that no package index answered."""
    return any(word in log for word in UNREACHABLE)


def ran_out_of_disk(log: str) -> bool:
    """Whether what pip or uv printed says that the disk was full."""
    return "No space left" in log or "Errno 28" in log


def _ended(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(timeout=LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _bytes_under(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except OSError:
                continue  # gone between the listing and the look
    return total
