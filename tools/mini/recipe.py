"""The hyperparameters of a pretraining, and the compute that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nbtools.errors import InputError

SCHEDULES = ("linear", "cosine", "wsd")  # wsd: warm-up, stable, decay (Hu et al., 2024, arXiv:2404.06395)
OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a pretraining.

    vocabulary    number of tokens of the tokenizer
    layers        number of blocks
    heads         attention heads per block
    width         size of the residual stream
    context       sequence length, in tokens
    tied          whether the output layer shares the token embedding
    optimizer     "muon" (Muon for matrices, AdamW for the rest) or "adamw" (AdamW for all)
    matrix_rate   learning rate of Muon
    rate          learning rate of AdamW
    weight_decay  of the matrices
    schedule      of the learning rates after the warm-up: "linear" or "cosine" decay to zero, or "wsd": constant until the last `decay`
                  of the steps, then linear decay to zero
    warmup        fraction of the steps
    decay         fraction of the steps, for "wsd"
    batch_size    blocks of `context` tokens per step
    steps         number of optimizer steps
    short         length of the short rows, in tokens
    short_share   fraction of the steps, at the beginning, whose blocks are cut into short rows
    late_share    fraction of the steps, at the end, that see generated texts only
    dropout       probability during training
    seed          of the weights and the order of the blocks
    """

    vocabulary: int = 8192
    layers: int = 6
    heads: int = 8
    width: int = 256
    context: int = 512
    tied: bool = True
    optimizer: str = "muon"
    matrix_rate: float = 0.02
    rate: float = 3e-3
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: float = 0.02
    decay: float = 0.4
    batch_size: int = 16
    steps: int = 1_000
    short: int = 128
    short_share: float = 0.0
    late_share: float = 0.0
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}.", f"Choose one of: {', '.join(known)}.")
        for name in ("layers", "heads", "width", "context", "matrix_rate", "rate", "batch_size", "steps", "short"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}.", "It must be above zero.")
        for name in ("warmup", "decay", "short_share", "late_share", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}.", "It must be between 0 and 1.")

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """This recipe with some values replaced; strings are converted.

        Raises InputError for an unknown name or an invalid value.
        """
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        if unknown := [name for name in values if name not in kinds]:
            raise InputError(f"A recipe has no {unknown[0]!r}.", f"It has: {', '.join(kinds)}.")
        return replace(self, **{name: _as(kinds[name], name, value) for name, value in values.items()})

    @property
    def tokens(self) -> int:
        """Number of training tokens."""
        return self.steps * self.batch_size * self.context

    @property
    def stored_parameters(self) -> int:
        """Number of parameters of the model."""
        block = 12 * self.width**2 + 13 * self.width
        embeddings = (self.vocabulary * (1 if self.tied else 2) + self.context) * self.width
        return self.layers * block + embeddings + 2 * self.width

    @property
    def flops(self) -> float:
        """Floating-point operations of the training, by the usual estimate (Kaplan et al., 2020, arXiv:2001.08361).

        Six per token and weight of a matrix; and, per token and layer, twelve per unit of the width and token attended to, which on
        average is half of the row.
        """
        matrices = self.layers * 12 * self.width**2 + self.vocabulary * self.width
        shares = ((self.short_share, self.short), (1 - self.short_share, self.context))
        attention = sum(share * 12 * self.layers * self.width * length / 2 for share, length in shares)
        return self.tokens * (6 * matrices + attention)

    def at(self, flops: float) -> Recipe:
        """This recipe with the number of steps that `flops` allow."""
        return replace(self, steps=max(1, math.floor(flops / replace(self, steps=1).flops)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _as(kind: type, name: str, value: Any) -> Any:
    if kind is bool and isinstance(value, str):
        if value.lower() not in {"true", "false"}:
            raise InputError(f"{name} is {value!r}.", "Give true or false.")
        return value.lower() == "true"
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {value!r}.", f"It must be a value like {kind(1)!r}.") from error
