"""The parameters of decoding: one validated object for `generate`, `stream`, `next_tokens`, text trees and the views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbtools.errors import InputError
from nbtools.values import Checked

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList

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
    """Whether tokens are drawn; None: they are when temperature (above 0), top_k, top_p or min_p is given."""
    temperature: float | None = None
    """Divides the logits before the softmax; 0 means greedy decoding, whatever the other values say."""
    top_k: int | None = None
    """Keeps the k likeliest tokens; 0 keeps all."""
    top_p: float | None = None
    """Keeps the smallest set of tokens whose probabilities reach p (Holtzman et al., 2020)."""
    min_p: float | None = None
    """Keeps tokens with at least p times the largest probability; 0 keeps all."""
    repetition_penalty: float | None = None
    """Divides (or, below zero, multiplies) the logits of tokens that the text already holds (Keskar et al., 2019); 1 changes nothing."""
    num_beams: int = 1
    """Width of a beam search; 1 for none."""
    max_new_tokens: int = 50
    """The most tokens that are added to the prompt."""
    max_length: int | None = None
    """The most tokens of prompt and continuation together; overrides max_new_tokens."""
    seed: int = 0
    """Of each prompt's own random stream; sample j uses seed + j."""
    num_samples: int = 1
    """Texts per prompt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_beams > 1 and self.samples:
            raise InputError("Beam search and sampling were asked for together.", "Leave out num_beams, or the sampling values.")

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn at random."""
        if self.temperature is not None and self.temperature < GREEDY_BELOW:
            return False
        if self.do_sample is not None:
            return self.do_sample
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p, self.min_p))

    @property
    def explicitly_greedy(self) -> bool:
        """Whether the likeliest token was asked for, and not only nothing else."""
        return not self.samples and (self.temperature is not None or self.do_sample is not None)

    def penalized(self, input_ids: Any, logits: torch.Tensor) -> torch.Tensor:
        """`logits` [rows, vocabulary] after transformers' repetition penalty for the tokens in `input_ids` [rows, length]."""
        from transformers import RepetitionPenaltyLogitsProcessor

        if self.repetition_penalty is None:
            return logits
        return RepetitionPenaltyLogitsProcessor(self.repetition_penalty)(input_ids, logits)  # type: ignore[arg-type]

    def warpers(self) -> LogitsProcessorList:
        """transformers' own warpers for these values, in the order in which its `generate` applies them; none when decoding is greedy."""
        from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        chosen = LogitsProcessorList()
        if not self.samples:
            return chosen
        if self.temperature is not None and self.temperature != 1:
            chosen.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            chosen.append(TopKLogitsWarper(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            chosen.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            chosen.append(MinPLogitsWarper(self.min_p))
        return chosen

    def describe(self) -> str:
        """The way of decoding in a few words, for a table."""
        values = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p}
        if not self.samples:
            words = "greedy" if self.num_beams == 1 else f"beam search, {self.num_beams} beams"
        else:
            words = "sampling, " + (", ".join(f"{name}={value}" for name, value in values.items() if value is not None) or "no warper")
        return words if self.repetition_penalty is None else f"{words}, repetition_penalty={self.repetition_penalty}"
