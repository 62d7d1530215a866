import pytest

from nbtools.data.cleaning import clean, fingerprint, is_broken


@pytest.mark.parametrize(
    ("raw", "typed"),
    [
        ("One.<br /><br />Two.", "One.\nTwo."),
        ("One.<BR/>Two.<br>Three.", "One.\nTwo.\nThree."),
        ("a  <i>very</i>   good film ", "a very good film"),
        ("R&amp;B &quot;hit&quot;", 'R&B "hit"'),
        ("wait\x85 no \x96 yes", "wait… no – yes"),
        ("I <3 this < that", "I <3 this < that"),
        ("a\r\nb\rc\n\n\n\nd", "a\nb\nc\nd"),
        ("  \n ", ""),
    ],
)
def test_markup_and_old_punctuation_become_what_a_person_would_type(raw, typed):
    assert clean(raw) == typed


def test_cleaning_twice_changes_nothing_more():
    text = "A <br /> b &amp;amp; c\x92s"
    assert clean(clean(text)) == clean(clean(clean(text)))


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("A perfectly good film.", False),
        ("A perfectly \ufffd good film.", True),
        ("A perfectly \x00 good film.", True),
        ("10/10 !!!", True),
        ("Ein schöner Film", False),
    ],
)
def test_reviews_without_words_or_with_lost_bytes_are_broken(text, broken):
    assert is_broken(text) is broken


def test_the_fingerprint_depends_on_words_only():
    assert fingerprint("A good  film.\nReally.") == fingerprint("a GOOD film. really.")
    assert fingerprint("A good film.") != fingerprint("A good film")
    assert 0 <= fingerprint("x") < 2**64
