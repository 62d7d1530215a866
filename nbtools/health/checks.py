"""Checks of the machine: host, device, number format, memory, disk, the Hub, a token, a compiler."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from nbtools.errors import InputError
from nbtools.health.report import Check, guarded
from nbtools.texts import gigabytes

CACHE_BYTES = 200_000_000  # cleaned reviews and their tokens
RUN_BYTES = 500_000_000  # a run of the course with `mini`: the notebooks, the tuned model, its checkpoints


def examine_machine(hub: str, hub_secret: str) -> list[Check]:
    """Run every check of the machine; `hub` is the result of `hub_state`. A check that raises does not affect the others."""
    other_cache = "Set NBTOOLS_CACHE to a folder that you may write to."
    return [
        *guarded("host", _host, "warn"),
        *guarded("device", _device),
        *guarded("memory", _memory),
        *guarded("disk for caches", _cache_disk, advice=other_cache),
        *guarded("disk for runs", _run_disk, advice="Start from a folder that exists and that you may write to."),
        *guarded("Hub", partial(_hub, hub), "warn"),
        *guarded("Hub token", partial(_hub_token, hub_secret), "warn"),
        *guarded("C++ compiler", _compiler, "warn"),
    ]


def _host() -> list[Check]:
    from nbtools.system.host import HOSTS, name_host

    return [Check("host", f"{HOSTS[name_host()]} ({platform.system()}, {platform.machine()})")]


def _device() -> list[Check]:
    """Device, threads, and the number format with the measured speeds that decided it."""
    import torch

    from nbtools.system import allowed_processors, choose_dtype, device

    where = device()
    value = {"cpu": "CPU", "mps": "Apple GPU (MPS)"}.get(where.type, str(where))
    if where.type == "cuda":
        free, total = torch.cuda.mem_get_info(where)
        value = f"{torch.cuda.get_device_name(where)}, {gigabytes(free)} free of {gigabytes(total)}"
    processors = allowed_processors()
    choice = choose_dtype()
    speeds = ", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in choice.gflops.items())
    return [
        Check("device", value),
        Check("threads", f"{torch.get_num_threads()} for PyTorch, {processors} processor{'s' if processors > 1 else ''}"),
        Check("number format", f"{choice.name}: {choice.reason}" + (f" [{speeds}]" if speeds else "")),
    ]


def _memory() -> list[Check]:
    import psutil

    from nbtools.system import available_memory, total_memory

    total, machine = total_memory(), psutil.virtual_memory().total
    limited = f" (a limit set here; the machine has {gigabytes(machine)})" if total < machine else ""
    return [Check("memory", f"{gigabytes(available_memory())} free of {gigabytes(total)}{limited}")]


def _cache_disk() -> list[Check]:
    from nbtools.storage import cache_folder, usual_cache

    folder, usual = cache_folder(), usual_cache()
    if folder != usual:
        value = f"{usual} cannot be written to; {folder} is used instead, which may be emptied"
        return [Check("disk for caches", value, "warn", "Set NBTOOLS_CACHE to a folder that you may write to.")]
    return [_disk("disk for caches", folder, CACHE_BYTES, "Free some space, or set NBTOOLS_CACHE to a folder on a larger disk.")]


def _run_disk() -> list[Check]:
    return [_disk("disk for runs", Path.cwd(), RUN_BYTES, "Free some space, or set NBTOOLS_RUNS to a folder on a larger disk.")]


def _disk(name: str, folder: Path, needed: int, advice: str) -> Check:
    free = shutil.disk_usage(folder).free
    value = f"{gigabytes(free)} free in {folder}"
    if free < needed:
        return Check(name, f"{value}; {gigabytes(needed)} are needed", "fail", advice)
    if not os.access(folder, os.W_OK):
        return Check(name, f"{folder} cannot be written to", "fail", advice)
    return Check(name, value)


def hub_state() -> str:
    """The result of `nbtools.system.hub_state`; "unknown" if a package that it needs is missing, "broken token" if it raises."""
    try:
        from nbtools.system import hub_state as ask
    except Exception:  # reported by the checks of the packages
        return "unknown"
    try:
        return ask()
    except InputError:
        return "broken token"


def _hub(state: str) -> list[Check]:
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or "the Hub"  # only the host: a URL may contain a password
    if state == "off":
        return [Check("Hub", f"{host} is switched off (HF_HUB_OFFLINE)")]
    if state == "reachable":
        return [Check("Hub", f"{host} answers")]
    if state == "broken token":
        return [Check("Hub", f"{host} was not contacted: the token contains an invalid character", "warn", "Set it again, or unset it.")]
    advice = "The profile mini needs no network. Set HF_HUB_OFFLINE=1 so that nothing waits for the Hub."
    return [Check("Hub", f"{host} does not answer within a few seconds", "warn", advice)]


def _hub_token(hub_secret: str) -> list[Check]:
    from nbtools.system import hub_token_source

    source = hub_token_source(hub_secret)
    return [Check("Hub token", f"set ({source})" if source else "not set; GPT-2 and the reviews need none")]


def _compiler() -> list[Check]:
    names = [os.environ.get("CXX", ""), *(["cl"] if sys.platform == "win32" else []), "g++", "clang++", "c++"]
    if found := next(filter(shutil.which, filter(None, names)), None):
        return [Check("C++ compiler", f"{found} (for faster training and generation)")]
    return [Check("C++ compiler", "none found: PyTorch does the work of the C++ code, more slowly")]
