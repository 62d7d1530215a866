"""Check the small files of a model before its weights are loaded, because a model may come from anyone.

Rejected are pickle files under any name, custom code, kernels that the config would load from the Hub, links that lead out of the model's
folder, and models too large for this machine's memory. What the model will generate is not checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nbtools.errors import MachineError, ModelError
from nbtools.storage.json_files import read_json
from nbtools.system import available_memory

MAX_LAYERS = 1_000  # several times more than the deepest published models have
INDEX = "model.safetensors.index.json"
REMEDY = "Choose another model, or ask whoever made it for a folder that save_pretrained wrote."


def screen(name: str, location: str, attention: str, local_files_only: bool) -> None:
    """Check that a model is safe to load. Only its config.json and the index and headers of its weights are read.

    name              the model's name, for errors
    location          a folder, or a name on the Hub
    attention         the attention implementation that will be used
    local_files_only  whether only cached files of a model on the Hub may be used

    Raises ModelError for a model that must not be loaded, MachineError for one that does not fit into memory, and the errors of
    transformers for files that it cannot read.
    """
    folder = Path(location)
    if folder.is_dir():
        check_links(name, folder)
    config = _read(name, location, "config.json", local_files_only)
    if "model_type" not in config and "auto_map" not in config:
        raise ModelError(f"The config.json of {name} has no model_type.", REMEDY)
    for key, value in _leaves(config):
        if key.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise ModelError(f"{name} asks for a custom kernel, {value}, which this course never runs.", REMEDY)
    weight_map = _read(name, location, INDEX, local_files_only).get("weight_map") or {}
    for file in sorted({str(file) for file in weight_map.values()}) if isinstance(weight_map, dict) else []:
        if PurePosixPath(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise ModelError(f"{name} names {file} as its weights, which is not a safetensors file in its folder.", REMEDY)
    stored = sum(count_weights(file) for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
    _check_size(name, location, attention, local_files_only, None if "quantization_config" in config else stored)


def check_links(name: str, folder: Path) -> None:
    """Raise ModelError for a link in `folder` that leads out of it; in the Hub's cache, links to its blobs folder are allowed."""
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":
        allowed.append((folder.parent.parent / "blobs").resolve())
    for file in folder.rglob("*"):
        if file.is_symlink() and not any(file.resolve().is_relative_to(parent) for parent in allowed):
            raise ModelError(f"{file.relative_to(folder)} in {name} is a link to somewhere else.", "Replace the link by the file itself.")


def count_weights(file: Path) -> int:
    """Return the number of weights in a safetensors file, read from its header. Raises SafetensorError for any other file."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as content:
        return sum(math.prod(content.get_slice(key).get_shape()) for key in content.keys())  # noqa: SIM118  (not a mapping)


def _check_size(name: str, location: str, attention: str, local_files_only: bool, stored: int | None) -> None:
    """Build the model on the meta device and compare its size with the number of weights `stored`, if any, and with free memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(location, trust_remote_code=False, local_files_only=local_files_only)
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", 1)
    if isinstance(layers, int) and not 0 < layers <= MAX_LAYERS:
        raise ModelError(f"The config.json of {name} asks for {layers:,} layers.", REMEDY)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, trust_remote_code=False)
    count = sum(weight.numel() for weight in model.parameters())
    if stored and stored < count:
        raise ModelError(f"The config.json of {name} describes {count:,} weights, but its files hold {stored:,}.", REMEDY)
    needed = 4 * count + sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if needed > (free := available_memory()):
        raise MachineError(
            f"{name} takes {needed / 1e9:,.1f} GB of memory in fp32, and {free / 1e9:,.1f} GB are free.",
            "Choose a smaller model, or close other programs. If it should be small, its config.json is wrong.",
        )


def _read(name: str, location: str, file: str, local_files_only: bool) -> dict[str, Any]:
    """Return the content of a JSON file of the model, {} if there is no such file."""
    from transformers.utils import cached_file

    path = cached_file(location, file, local_files_only=local_files_only, _raise_exceptions_for_missing_entries=False)
    return dict(read_json(path, dict, "Copy or download the model again.", ModelError)) if path else {}


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every scalar in nested JSON with its key."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # A config may give one implementation per submodel: {"_attn_implementation": {"text_config": "sdpa"}}.
            yield from _leaves(inner, key if key.endswith("_implementation") else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value
