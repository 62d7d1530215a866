"""Packed blocks in training order, with a curriculum of sequence lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nbtools.data import Packed
from nbtools.data.packing import IGNORED
from nbtools.errors import InputError


class OrderedBlocks(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """`count` blocks of `packed`, shuffled anew in each epoch; the first `short_count` of them are cut into rows of `short` tokens.

    Short rows come first because attention over them is cheap, and the dependencies that are learned first are short (a curriculum of
    sequence lengths: Li et al., 2022, arXiv:2108.06084). Every step has the same number of tokens.

    late        indices of the blocks from which the last `late_count` ones are drawn, so that training ends with the text that matters
                most while its learning rate falls (as in MiniCPM: Hu et al., 2024, arXiv:2404.06395)

    Item i is a dict of int64 tensors [rows, length]; `collate` concatenates the rows of a batch.

    Raises InputError when `short` does not divide the block size, or there are no late blocks.
    """

    def __init__(
        self,
        packed: Packed,
        count: int,
        seed: int,
        short_count: int = 0,
        short: int | None = None,
        late: Sequence[int] = (),
        late_count: int = 0,
    ) -> None:
        self.packed, self.short_count, self.short = packed, short_count, short or packed.block_size
        if packed.block_size % self.short:
            raise InputError(f"Blocks of {packed.block_size} tokens cannot be cut into rows of {self.short}.", "Choose a divisor.")
        if late_count and not len(late):
            raise InputError(
                "There are no generated texts to end the training with.", "Leave late_share out, or give a corpus that has some."
            )
        draws = np.random.default_rng(seed)
        self.order = np.concatenate([_epochs(range(len(packed)), count - late_count, draws), _epochs(late, late_count, draws)])

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


def _epochs(indices: Sequence[int], count: int, draws: np.random.Generator) -> np.ndarray:
    """The first `count` of `indices`, shuffled anew in each epoch."""
    if not count:
        return np.zeros(0, dtype=np.int64)
    return np.concatenate([draws.permutation(np.asarray(indices)) for _ in range(-(-count // len(indices)))])[:count]


def _restarted(positions: torch.Tensor) -> torch.Tensor:
    """Position ids that restart at 0 in each row, and where a document begins."""
    index = torch.arange(positions.shape[1])
    untouched = (positions - positions[:, :1]) == index  # the document that continues from the previous row
    return torch.where(untouched, index, positions)
