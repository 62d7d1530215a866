"""A card says what the records say, and shows texts as they are."""

from __future__ import annotations

from typing import Any

from tools.mini.card import pretraining_card
from tools.mini.recipe import Recipe

RECORD: dict[str, Any] = {
    "recipe": Recipe(steps=1234).to_dict(),
    "flops": 3.21e15,
    "tokens": 10_108_928,
    "seconds": 5400,
    "parameters": 6_967_296,
    "choices": {"dtype": "bf16"},
    "documents": 68,
    "characters": 66_000_000,
    "held_out": ["the-held-out-book"],
    "held_out_score": {"bits_per_byte": 1.2345, "tokens": 140_000},
    "machine": {"cores": 2},
}


def tried(name: str, bits: float, flops: float = 2e13) -> dict[str, Any]:
    return {
        "name": name,
        "asks": f"why {name}",
        "flops": flops,
        "seed": 0,
        "tokens": 5e5,
        "parameters": 7e6,
        "bits_per_byte": bits,
        "seconds": 99,
    }


def test_figures_come_from_the_record() -> None:
    curve = [{"step": 10, "tokens": 5e5, "loss": 5.0}, {"step": 20, "tokens": 1e6, "loss": 4.5, "held_out_bits_per_byte": 1.8}]
    card = pretraining_card("mini", RECORD, curve, [], [], extra="Further figures.")
    for figure in (
        "6,967,296 parameters",
        "1,234 steps",
        "10.1 million tokens",
        "90 minutes",
        "*the-held-out-book*",
        "**1.2345 bits",
        "3.2e+15",
    ):
        assert figure in card
    assert "| 20 | 1.0 | 4.500 | 1.800 |" in card and "| 10 |" not in card and "Further figures." in card
    assert card.startswith("---\nlanguage: en\n")


def test_experiments_are_compared_within_their_compute_and_seed() -> None:
    log = [tried("base", 2.0), tried("better", 1.9), tried("base", 1.5, 8e13), tried("worse", 1.8, 8e13)]
    card = pretraining_card("mini", RECORD, [], log, [])
    assert "| better | why better | 7.0 | 0.50 | 99 | 1.900 | -5.0% |" in card and "| 1.800 | +20.0% |" in card
    assert card.index("| better |") < card.index("| base |"), "best first"


def test_a_sample_is_read_as_text() -> None:
    card = pretraining_card("mini", RECORD, [], [], [{"prompt": "He", "text": " said\n<b>*no*</b> | `x`"}])
    assert "1. **He** said \\<b\\>\\*no\\*\\</b\\> \\| \\`x\\`" in card


def test_generated_texts_are_counted_apart_from_books() -> None:
    record = RECORD | {"documents": 20_068, "characters": 90_000_000, "generated_documents": 20_000, "generated_characters": 24_000_000}
    card = pretraining_card("mini", record | {"repeat": 3}, [], [], [])
    assert "68 of them, 66.0 million characters" in card and "20,000 short texts of modern English, 24.0 million characters" in card
    assert "counts 3 times" in card and "Neither the model nor its tokenizer has seen a film review." in card
