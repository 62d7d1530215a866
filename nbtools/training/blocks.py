"""Packed blocks in the order in which a pretraining meets them, the first of them cut short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nbtools.data import Packed
from nbtools.data.packing import IGNORED
from nbtools.errors import InputError


class OrderedBlocks(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """`count` blocks of `packed`, each epoch in an order of its own; the first `short_count` of them as rows of `short` tokens.

    Short rows come first because attention over them is cheap and what is learned first, the nearest words, lies within them (a
    curriculum of lengths: Li et al., 2022, arXiv:2108.06084). A step has the same number of tokens throughout.

    Item i is a dict of int64 [rows, length]; `collate` lays the rows of a batch one below the other. Raises InputError when `short`
    does not divide a block.
    """

    def __init__(self, packed: Packed, count: int, seed: int, short_count: int = 0, short: int | None = None) -> None:
        self.packed, self.short_count, self.short = packed, short_count, short or packed.block_size
        if packed.block_size % self.short:
            raise InputError(f"Blocks of {packed.block_size} tokens cannot be cut into rows of {self.short}.", "Choose a divisor.")
        draws = np.random.default_rng(seed)
        epochs = -(-count // len(packed))
        self.order = np.concatenate([draws.permutation(len(packed)) for _ in range(epochs)])[:count]

    @property
    def block_size(self) -> int:
        return self.packed.block_size

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        block = self.packed[int(self.order[index])]
        length = self.short if index < self.short_count else self.block_size
        rows = {name: part.view(-1, length) for name, part in block.items()}
        rows["labels"] = rows["labels"].clone()
        rows["labels"][:, 0] = IGNORED
        rows["position_ids"] = _restarted(rows["position_ids"])
        return rows

    @staticmethod
    def collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, Any]:
        return {name: torch.cat([item[name] for item in items]) for name in items[0]}


def _restarted(positions: torch.Tensor) -> torch.Tensor:
    """Positions that begin at 0 in each row, and, as before, wherever a document begins."""
    place = torch.arange(positions.shape[1])
    untouched = (positions - positions[:, :1]) == place  # still in the document that the row began with
    return torch.where(untouched, place, positions)
