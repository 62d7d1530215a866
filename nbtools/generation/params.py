"""Sampling parameters: one validated object for `generate`, `stream`, `next_tokens`, text trees and the views."""

from __future__ import annotations

from dataclasses import dataclass

from nbtools.errors import InputError
from nbtools.values import Checked

# Below this, logits divided by the temperature would overflow. vLLM decodes greedily below the same value (vllm/sampling_params.py,
# _SAMPLING_EPS).
GREEDY_BELOW = 1e-5


@dataclass(frozen=True)
class SamplingParams(Checked):
    """How a text is continued. Greedy unless one of the sampling values is given or `do_sample` says otherwise.

    Every value is checked, and NumPy's numbers become Python's. Raises InputError for an impossible value, and for beams together with
    sampling.
    """

    do_sample: bool | None = None
    """Whether tokens are sampled; None: they are if temperature (above 0), top_k, top_p or min_p is given."""
    temperature: float | None = None
    """Divides the logits before the softmax; 0 means greedy decoding, regardless of the other values."""
    top_k: int | None = None
    """Keeps the k likeliest tokens; 0 keeps all."""
    top_p: float | None = None
    """Keeps the smallest set of tokens whose probabilities reach p (Holtzman et al., 2020)."""
    min_p: float | None = None
    """Keeps tokens with at least p times the largest probability; 0 keeps all."""
    repetition_penalty: float | None = None
    """Divides (below zero: multiplies) the logits of tokens that the text already contains (Keskar et al., 2019); 1 changes nothing."""
    num_beams: int = 1
    """Width of a beam search; 1 for none."""
    max_new_tokens: int = 50
    """The most tokens that are added to the prompt."""
    max_length: int | None = None
    """The most tokens of prompt and continuation together; overrides max_new_tokens."""
    seed: int = 0
    """The seed of each prompt's own random stream; sample j uses seed + j."""
    num_samples: int = 1
    """Texts per prompt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_beams > 1 and self.samples:
            raise InputError("Beam search and sampling were asked for together.", "Leave out num_beams, or the sampling values.")

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        if self.temperature is not None and self.temperature < GREEDY_BELOW:
            return False
        if self.do_sample is not None:
            return self.do_sample
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.min_p))

    @property
    def explicitly_greedy(self) -> bool:
        """Whether greedy decoding was requested explicitly."""
        return not self.samples and (self.temperature is not None or self.do_sample is not None)

    def describe(self) -> str:
        """Return how tokens are chosen, in a few words, for a table."""
        values = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        if not self.samples:
            words = "greedy" if self.num_beams == 1 else f"beam search, {self.num_beams} beams"
        else:
            words = "sampling, " + (", ".join(f"{name}={value}" for name, value in values.items() if value is not None) or "no warper")
        return words if self.repetition_penalty is None else f"{words}, repetition_penalty={self.repetition_penalty}"
