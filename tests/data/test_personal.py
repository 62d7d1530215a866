"""The scan for personal data, and what a tokenizer makes of texts."""

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
    "4111 1111 1111 1112",  # Luhn says no
    "DE00 3704 0044 0532 0130 00",
    "0000 0000 0000 0000",
    "user@home and @somebody",
    "rated 3.14159265358979",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_what_has_the_form_of_personal_data_is_found_and_never_shown_whole(kind, text):
    found = find_personal_data(["Nothing here.", f"before {text} after"])
    assert [(one.kind, one.text) for one in found] == [(kind, 1)]
    said = describe_personal_data(found)
    assert kind in said and text not in said and len(found[0].masked) <= 5


@pytest.mark.parametrize("text", NOT_FOUND)
def test_other_numbers_and_words_are_let_alone(text):
    assert find_personal_data([text]) == []


def test_reviews_hold_little_of_it():
    found = find_personal_data(load_reviews("package", 400).train["text"])
    assert len(found) < 8


def test_nothing_found_says_what_that_means():
    assert "Names and stories are not looked for" in describe_personal_data([])


def test_a_short_secret_is_masked_whole():
    assert mask("abcdef") == "…" and mask("abcdefg") == "ab…fg"


def test_text_that_the_tokenizer_does_not_know_is_told():
    lm = tiny()
    english = examine_texts(load_reviews("package", 100).train, lm)
    assert 3.5 < english.bytes_per_token < 6 and not [one for one in english.warnings if "tokenizer" in one]
    greek = examine_texts(["αυτή είναι μια πολύ καλή ταινία για όλους μας"] * 20, lm)
    assert greek.bytes_per_token < 2.5 and "another language" in greek.warnings[0]


def test_long_and_short_texts_are_told():
    lm = tiny()
    fit = examine_texts(["word and word " * 4_000, "hm", "ok", "no"], lm)
    assert any("contexts by itself" in one for one in fit.warnings) and any("right column" in one for one in fit.warnings)
    assert fit.over_context == 0.25 and "25%" in repr(fit)
    with pytest.raises(InputError):
        examine_texts([], lm)
