"""What is looked at in a model's small files before its weights are read: a model may come from anybody.

Refused are pickles by whatever way they are named, code of the model's own and kernels that its config would bring from the Hub, links
that lead out of its folder, and sizes that this machine's memory cannot hold. What this cannot see: what a model will say.
"""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any

from nbtools.errors import MachineError, ModelError
from nbtools.storage.json_files import read_json
from nbtools.system import available_memory

MOST_LAYERS = 1_000  # several times what the deepest published models have
INDEX = "model.safetensors.index.json"
REMEDY = "Choose another model, or ask whoever made it for a folder that save_pretrained wrote."


def screen(name: str, place: str, attention: str, local_files_only: bool) -> None:
    """Raise ModelError, or MachineError for a model that memory cannot hold, where the model at `place` must not be loaded.

    place  a folder or a name on the Hub, of which config.json and the index of the weights are read and nothing else
    Other errors are transformers' own: what it cannot read, it cannot load either.
    """
    folder = Path(place)
    if folder.is_dir():
        refuse_links(name, folder)
    config = _read(name, place, "config.json", local_files_only)
    if "model_type" not in config and "auto_map" not in config:
        raise ModelError(f"The config.json of {name} names no kind of model.", REMEDY)
    for key, value in _leaves(config):
        if key.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise ModelError(f"{name} wants to bring a kernel of its own, {value}, which this course never runs.", REMEDY)
    weight_map = _read(name, place, INDEX, local_files_only).get("weight_map") or {}
    for file in sorted({str(file) for file in weight_map.values()}) if isinstance(weight_map, dict) else []:
        if PurePosixPath(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise ModelError(f"{name} names {file} as its weights, which is no safetensors file of its folder.", REMEDY)
    stored = sum(count_weights(file) for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
    _refuse_sizes(name, place, attention, local_files_only, None if "quantization_config" in config else stored)


def refuse_links(name: str, folder: Path) -> None:
    """Raise ModelError for a link in `folder` that leads out of it; the Hub's own cache may link to its store of files."""
    inside = [folder.resolve()]
    if folder.parent.name == "snapshots":
        inside.append((folder.parent.parent / "blobs").resolve())
    for file in folder.rglob("*"):
        if file.is_symlink() and not any(file.resolve().is_relative_to(place) for place in inside):
            raise ModelError(f"{file.relative_to(folder)} in {name} is a link to somewhere else.", "Put the file itself in its place.")


def count_weights(file: Path) -> int:
    """The number of weights in a safetensors file, by its header alone. Raises SafetensorError for a file that is none."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as content:
        return sum(math.prod(content.get_slice(key).get_shape()) for key in content.keys())  # noqa: SIM118  (it is no mapping)


def _refuse_sizes(name: str, place: str, attention: str, local_files_only: bool, stored: int | None) -> None:
    """Build the model without memory, and compare it with the number of weights that are `stored` here, if any, and with free memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=local_files_only)
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 1)
    if isinstance(layers, int) and not 0 < layers <= MOST_LAYERS:
        raise ModelError(f"The config.json of {name} asks for {layers:,} layers.", REMEDY)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, trust_remote_code=False)
    count = sum(weight.numel() for weight in model.parameters())
    if stored and stored < count:
        raise ModelError(f"The config.json of {name} asks for {count:,} weights, and {stored:,} are there.", REMEDY)
    needed = 4 * count + sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if needed > (free := available_memory()):
        raise MachineError(
            f"{name} takes {needed / 1e9:,.1f} GB of memory in fp32, and {free / 1e9:,.1f} GB are free.",
            "Choose a smaller model, or shut other programs down. If it should be small, its config.json is wrong.",
        )


def _read(name: str, place: str, file: str, local_files_only: bool) -> dict[str, Any]:
    """A JSON file of the model; {} where it has none."""
    from transformers.utils import cached_file

    path: Path | str | None = Path(place) / file
    if not Path(place).is_dir():
        path = cached_file(place, file, local_files_only=local_files_only, _raise_exceptions_for_missing_entries=False)
    if path is None or not Path(path).is_file():
        return {}
    return dict(read_json(path, dict, "Copy or download the model again.", ModelError))


def _leaves(content: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every plain value in nested JSON, with the name that it stands under."""
    found, open_ = [], [(key, content)]
    while open_:
        key, value = open_.pop()
        if isinstance(value, dict):
            # A config may give an implementation for each part: {"_attn_implementation": {"text_config": "sdpa"}}.
            open_ += [(key if key.endswith("_implementation") else str(name), part) for name, part in value.items()]
        elif isinstance(value, list):
            open_ += [(key, part) for part in value]
        else:
            found.append((key, value))
    return found
