"""Small notebooks that stand in for a fine-tuning: they leave a metrics.json within a second, without torch."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runs.small_notebooks import write_notebook

PARAMETERS = """
rate: float = 0.1  # a number
size: int = 2  # a whole number
word: str = "plain"  # a text
seed: int = 0
"""
COUNTED = """
import json, os
from pathlib import Path
runs = Path(os.environ["NBTOOLS_RUNS"])
with open(os.environ.get("COUNT_FILE", os.devnull), "a") as file:
    file.write(runs.name.removesuffix(".part") + "\\n")
"""
WRITE = """
value = abs(rate - 0.3) + size / 100 + seed / 1000
score = {"bits_per_byte": value, "perplexity": 2 ** value}
(runs / "metrics.json").write_text(json.dumps({"after": {"validation": score}, "seconds": 0.1}))
"""


def write_tiny(folder: Path, *between: str, name: str = "01_tiny", write: str = WRITE) -> Path:
    """A notebook with the PARAMETERS above that counts itself, runs the cells `between`, and writes its metrics."""
    return write_notebook(folder, name, COUNTED, *between, write, parameters=PARAMETERS)


class Silent:
    """An observer that shows nothing."""

    def say(self, text: str) -> None: ...
    def update(self, progress: object) -> None: ...
    def finish(self, job: object, status: object, progress: object) -> None: ...


def counting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tiny notebooks of this process's sweeps count themselves in `folder`."""
    monkeypatch.setenv("COUNT_FILE", str(folder / "count"))


def begun(folder: Path) -> list[str]:
    """The ids of runs whose notebook was begun, as often as it was."""
    file = folder / "count"
    return file.read_text().split() if file.exists() else []


@dataclass
class Started:
    """A sweep in a process of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    def wait_for(self, condition: Callable[[], Any]) -> None:
        while not condition():
            assert self.process.poll() is None, self.output()
            time.sleep(0.05)

    def done(self) -> list[str]:
        """The ids of runs that are done, by their own status."""
        found = sorted((self.folder / "runs").glob("*/status.json"))
        return [file.parent.name for file in found if file.parent.suffix != ".part" and json.loads(file.read_text())["state"] == "done"]

    def output(self) -> str:
        return self.log.read_text()


@contextmanager
def start_sweep(folder: Path, asked: dict[str, Any], *options: str, **environment: str) -> Iterator[Started]:
    """`nbtools sweep` on a plan, into `folder/out`, in a process of its own with Ctrl-C switched on; it is gone afterwards."""
    (folder / "sweep.yaml").write_text(yaml.safe_dump(asked, sort_keys=False))
    command = [sys.executable, "-m", "nbtools.cli", "sweep", str(folder / "sweep.yaml"), "--out", str(folder / "out"), *options]
    log = folder / f"log-{time.monotonic_ns()}"
    surroundings = {**os.environ, "COUNT_FILE": str(folder / "count"), **environment}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=surroundings, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )  # fmt: skip
    try:
        yield Started(process, folder / "out", log)
    finally:
        process.kill()
        process.wait()
