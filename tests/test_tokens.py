import pytest

from nbtools.tokens import decode, id_texts, token_texts, visible
from tests.small_models import mini

UNUSUAL = [
    "The café was  great\n\nBye",
    "🎬👨‍👩‍👧 film",
    "שלום עולם",
    "日本語のテキスト",
    " leading",
    "tab\tend ",
    "e\u0301",
    "1234567890",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("text", UNUSUAL)
def test_the_joined_texts_of_the_tokens_equal_the_text(text):
    ids, pieces = token_texts(mini().tokenizer, text)
    assert len(ids) == len(pieces)
    assert "".join(piece for piece in pieces if piece != "·") == text
    assert not any("Ġ" in piece or "\ufffd" in piece for piece in pieces)


def test_the_later_bytes_of_a_character_are_shown_as_a_dot():
    _, pieces = token_texts(mini().tokenizer, "🎬")
    assert pieces[0] == "🎬" and set(pieces[1:]) == {"·"}


def test_spaces_and_line_breaks_are_made_visible():
    assert visible(" a\nb\t") == "␣a⏎b⇥"


def test_a_token_that_is_part_of_a_character_is_shown_as_bytes():
    tokenizer = mini().tokenizer
    first = tokenizer("🎬", add_special_tokens=False)["input_ids"][0]
    assert id_texts(tokenizer, [first])[0].startswith("<bytes f0")
    assert id_texts(tokenizer, tokenizer(" film")["input_ids"]) == [" film"]


def test_decoding_does_not_change_spaces():
    text = "a , b  .\n c"
    assert decode(mini().tokenizer, mini().tokenizer(text)["input_ids"]) == text
