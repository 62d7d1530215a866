"""The token inspector: its rows are what training computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbtools.data import Packed, pack
from nbtools.errors import InputError
from nbtools.evaluation import block_nll
from nbtools.widgets import TokenInspector
from tests.small_models import mini
from tests.widgets.front_end import ask

TEXTS = ["A fine film. I liked it.", "Dull <b>and</b> long 🙂.", "The end was the best part of it all, sadly."] * 6


@pytest.fixture(scope="module")
def packed() -> Packed:
    return pack(TEXTS, mini(), 32)


def test_the_losses_sum_to_the_models_own(packed: Packed) -> None:
    item = {name: row[None] for name, row in packed[1].items()}
    with torch.inference_mode():
        loss = mini().model(**item, use_cache=False).loss
    nll = block_nll(mini(), packed, 1)
    assert nll.shape == (32,) and nll[-1] == 0 and nll.sum() / 31 == pytest.approx(float(loss), rel=1e-4)


def test_rows_say_what_training_sees(packed: Packed) -> None:
    inspector = TokenInspector(mini(), packed, 0)
    ids, positions = packed.input_ids[0], packed.position_ids[0]
    assert [row[2] for row in inspector.rows] == ids.tolist() and [row[4] for row in inspector.rows] == positions.tolist()
    assert [row[3] for row in inspector.rows[:-1]] == [row[1] for row in inspector.rows[1:]], "the label is the next token"
    assert inspector.rows[-1][3].startswith("none") and inspector.rows[-1][7] is None
    assert sum(row[7] for row in inspector.rows[:-1]) == pytest.approx(1)
    begins = [row[0] for row in inspector.rows if row[4] == 0]
    assert all(inspector.rows[at][1] == "<|endoftext|>" for at in begins) and inspector.rows[begins[1]][6] == "itself"
    at = begins[1] + 2
    assert inspector.rows[at][6] == f"{begins[1]} to {at}", "it may not look into the document before"


def test_another_block_is_shown_and_one_that_is_not_there_is_refused(packed: Packed) -> None:
    inspector = TokenInspector(mini(), packed)
    first = inspector.rows
    reply = ask(inspector, "block", block=1).result
    assert inspector.rows != first and reply["rows"] == inspector.rows and inspector.block == 1 and np.isfinite(reply["loss"])
    assert "no block 1000" in ask(inspector, "block", block=1000).error and inspector.block == 1
    with pytest.raises(InputError, match="no block -1"):
        TokenInspector(mini(), packed, -1)


def test_the_static_form_is_a_table_of_text(packed: Packed) -> None:
    inspector = TokenInspector(mini(), packed, 0)
    markup = inspector.static_html()
    assert markup.count("<tr>") == 13 and "<b>" not in markup and "Ġ" not in markup
    assert repr(inspector) == "TokenInspector('mini', block=0)"
