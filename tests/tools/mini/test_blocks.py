"""The order of a pretraining's blocks, and short rows that teach the same tokens."""

from __future__ import annotations

import pytest
import torch

from nbtools.data import Packed, pack
from nbtools.errors import InputError
from tests.small_models import tiny
from tools.mini.blocks import OrderedBlocks


def packed() -> Packed:
    return pack([f"Book {number} tells of a man and of a house. " * 12 for number in range(6)], tiny(), 32)


def test_every_epoch_has_every_block_once_in_an_order_of_its_own() -> None:
    blocks = packed()
    ordered = OrderedBlocks(blocks, 2 * len(blocks), seed=1)
    first, second = ordered.order[: len(blocks)], ordered.order[len(blocks) :]
    assert sorted(first) == sorted(second) == list(range(len(blocks))) and list(first) != list(second)
    assert list(ordered.order) == list(OrderedBlocks(blocks, 2 * len(blocks), seed=1).order)
    assert list(ordered.order) != list(OrderedBlocks(blocks, 2 * len(blocks), seed=2).order)


def test_the_last_blocks_are_of_the_late_ones_only() -> None:
    blocks = packed()
    late = [1, 3]
    order = list(OrderedBlocks(blocks, len(blocks) + 5, seed=1, late=late, late_count=5).order)
    assert sorted(order[:-5]) == list(range(len(blocks))) and sorted(order[-5:-1]) == [1, 1, 3, 3] and order[-1] in late
    with pytest.raises(InputError, match="no generated texts"):
        OrderedBlocks(blocks, 8, seed=1, late_count=5)


def test_short_rows_hold_the_same_tokens_from_position_zero() -> None:
    blocks = packed()
    ordered = OrderedBlocks(blocks, 4, seed=0, short_count=2, short=8)
    short, long = ordered[0], ordered[2]
    assert short["input_ids"].shape == (4, 8) and long["input_ids"].shape == (1, 32)
    whole = blocks[int(ordered.order[0])]
    assert torch.equal(short["input_ids"].flatten(), whole["input_ids"])
    assert (short["labels"][:, 0] == -100).all() and torch.equal(short["labels"][:, 1:], short["input_ids"][:, 1:])
    begins = whole["position_ids"].view(4, 8) == 0
    begins[:, 0] = True
    for row, starts in zip(short["position_ids"], begins, strict=True):
        assert torch.equal(row == 0, starts), "a row begins at 0, and so does a document inside it"
        assert ((row[1:] - row[:-1] == 1) | (row[1:] == 0)).all()
    assert torch.equal(long["position_ids"][0], blocks[int(ordered.order[2])]["position_ids"])


def test_a_batch_is_rows_below_each_other() -> None:
    ordered = OrderedBlocks(packed(), 4, seed=0, short_count=4, short=16)
    batch = ordered.collate([ordered[0], ordered[1]])
    assert {name: part.shape for name, part in batch.items()} == dict.fromkeys(("input_ids", "labels", "position_ids"), (4, 16))


def test_rows_that_do_not_divide_a_block_are_refused() -> None:
    with pytest.raises(InputError, match="32 tokens cannot be cut into rows of 12"):
        OrderedBlocks(packed(), 4, seed=0, short_count=2, short=12)
