"""Which generated texts are left out of the corpus."""

from __future__ import annotations

import itertools

import pytest

from tools.mini.corpus import Document
from tools.mini.filters import OPENINGS_MOST, fault, kept, whole_sentences

GOOD = (
    "We had booked the room for three nights, and when we came the woman at the desk said that she knew nothing about it. My wife was "
    "tired and I was angry, but there was nothing to be done. In the end they gave us a small room under the roof, with a view of the "
    "river. I would not go back there, although the breakfast was good and the people in the kitchen were kind to us."
)


def test_a_plain_text_is_kept() -> None:
    assert fault(GOOD) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("length", "It was good. I liked it."),
        ("length", " ".join(f"I was in room {number}, and it was good." for number in range(80))),
        ("films", GOOD + " It was like a movie."),
        ("films", GOOD + " The director of it was rude."),
        ("films", GOOD + " We watched TV."),
        ("leftovers", "Sure, here is a text.\n" + GOOD),
        ("leftovers", GOOD + " Yours, [Your Name]."),
        ("leftovers", GOOD + " See https://example.org for more."),
        ("leftovers", GOOD + "\n- the room\n- the river"),
        ("leftovers", "As an AI language model, I have no room. " + GOOD),
        ("language", "Wir hatten das Zimmer für drei Nächte gebucht, und als wir kamen, wusste die Frau nichts davon. " * 4),
        ("language", "x = 4; y = 7; print(x + y, 12, 13, 14); for i in range(10): x += i " * 6),
        ("repetition", GOOD + " The bed was hard and very cold. We ate. The bed was hard and very cold."),
        ("repetition", "I was in the room and I was in the room and I was in the room. " * 5),
    ],
)
def test_a_bad_text_is_left_out_with_the_reason(reason: str, text: str) -> None:
    assert fault(text) == reason


def test_words_that_only_contain_a_films_name_are_kept() -> None:
    assert fault(GOOD + " The factory and its directory are gone.") is None


def test_a_text_ends_with_its_last_complete_sentence() -> None:
    assert whole_sentences('It was cold. "Go!" she said. And then the') == 'It was cold. "Go!" she said.'
    assert whole_sentences("no end at all") == ""


def test_near_duplicates_and_beginnings_that_many_have_are_left_out() -> None:
    counts: dict[str, int] = {}
    changed = GOOD.replace("three nights", "four nights")
    good, like_it = Document("a", GOOD), Document("b", changed)
    assert list(kept([good, like_it], counts)) == [good] and counts == {"kept": 1, "near duplicate": 1}
    assert list(kept([like_it], {}, earlier=[good])) == []
    words = ["".join(pair) for pair in itertools.product("bcdfghklmnprst", "aeiou", "bcdfghklmnprst")]
    many = [
        f"It was in the summer of {' and my '.join(words[15 * number : 15 * number + 15])} that." for number in range(OPENINGS_MOST + 5)
    ]
    counts = {}
    list(kept([Document(str(number), text) for number, text in enumerate(many)], counts))
    assert counts["kept"] == OPENINGS_MOST and counts["near duplicate"] == 5
