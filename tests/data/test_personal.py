"""The scan for personal data, and the check of texts against a tokenizer."""

from __future__ import annotations

import pytest

from nbtools.data import describe_personal_data, examine_texts, find_personal_data, load_reviews
from nbtools.data.personal import mask
from nbtools.errors import InputError
from tests.small_models import tiny

FOUND = {
    "e-mail address": ["Write to jane.doe+films@mail.example.org please.", "x_y@a-b.de"],
    "telephone number": ["Call +49 30 901820 now", "(030) 901 820 77", "ring 0171/5550123", "+1 (555) 010-9999"],
    "key or token": ["hf_" + "aB3" * 10, "sk-proj-" + "a1" * 15, "AKIA" + "ABCD1234" * 2, "ghp_" + "x" * 36,
                     "-----BEGIN RSA PRIVATE KEY-----"],
    "card number": ["4111 1111 1111 1111", "5500-0000-0000-0004"],
    "bank account (IBAN)": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
}  # fmt: skip
NOT_FOUND = [
    "It was made in 1994, and 1,200,000 people saw it.",
    "10/10 would watch again, 2001: A Space Odyssey",
    "at 12:30 on 24.12.1999 in room 101",
    "4111 1111 1111 1112",  # fails the Luhn check
    "DE00 3704 0044 0532 0130 00",
    "0000 0000 0000 0000",
    "user@home and @somebody",
    "rated 3.14159265358979",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_personal_data_is_found_and_never_shown_in_full(kind, text):
    found = find_personal_data(["Nothing here.", f"before {text} after"])
    assert [(match.kind, match.text) for match in found] == [(kind, 1)]
    description = describe_personal_data(found)
    assert kind in description and text not in description and len(found[0].masked) <= 5


@pytest.mark.parametrize("text", NOT_FOUND)
def test_other_numbers_and_words_are_not_found(text):
    assert find_personal_data([text]) == []


@pytest.mark.slow(8)
def test_reviews_contain_little_personal_data():
    found = find_personal_data(load_reviews("package", 400).train["text"])
    assert len(found) < 8


def test_without_matches_the_description_names_what_is_not_looked_for():
    assert "Names and stories are not looked for" in describe_personal_data([])


def test_a_short_secret_is_masked_completely():
    assert mask("abcdef") == "…" and mask("abcdefg") == "ab…fg"


@pytest.mark.slow(7)
def test_text_that_the_tokenizer_was_not_trained_on_gets_a_warning():
    lm = tiny()
    english = examine_texts(load_reviews("package", 100).train, lm)
    assert 3.5 < english.bytes_per_token < 6 and not [warning for warning in english.warnings if "tokenizer" in warning]
    greek = examine_texts(["αυτή είναι μια πολύ καλή ταινία για όλους μας"] * 20, lm)
    assert greek.bytes_per_token < 2.5 and "another language" in greek.warnings[0]


def test_long_and_short_texts_get_a_warning():
    lm = tiny()
    fit = examine_texts(["word and word " * 4_000, "hm", "ok", "no"], lm)
    assert any("contexts by itself" in warning for warning in fit.warnings)
    assert any("right column" in warning for warning in fit.warnings)
    assert fit.over_context == 0.25 and "25%" in repr(fit)
    with pytest.raises(InputError):
        examine_texts([], lm)
