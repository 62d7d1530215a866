"""Which generated texts are good enough to learn from, and why the others are not."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

from tools.mini.corpus import Document

LEAST_WORDS, MOST_WORDS = 40, 400
# The course says that the model has never seen a film review, so nothing about films is kept.
FILMS = re.compile(
    r"\b(film\w*|movie\w*|cinema\w*|actors?|actress(?:es)?|hollywood|bollywood|screenplay\w*|directors?|directed by|sitcom\w*|netflix|imdb|"
    r"box office|blockbuster\w*|oscars?|academy award\w*|disney|pixar|tv|television|dvd|vhs|soap opera\w*|cartoons?|anime)\b",
    re.IGNORECASE,
)
LEFTOVERS = re.compile(
    r"<\||\|>|https?:|www\.|\.com\b|@|```|\*\*|^#|[\[\]{}|\\]|\bas an AI\b|\bAI (?:assistant|language model)\b|\byour name\b|"
    r"\bhere(?:'s| is| are) (?:an?|the|your|some|my)\b[^.\n]*:|^(?:sure|certainly|of course)[,!]|^(?:title|subject):|"
    r"\bSmolLM\b|\bHugging Face\b|\bI cannot (?:help|assist)\b|\blorem ipsum\b|^\s*(?:[-*•]|\d+[.)])\s",
    re.IGNORECASE | re.MULTILINE,
)
COMMON = frozenset(
    "the of and to a in i it was that is for on with my we but had they this as not be at he she you so have were me".split()
)
SENTENCE_END = re.compile(r"""[.!?]["'”’)]?(?=\s|$)""")
SHINGLE = 8  # words
SEEN_MOST = 0.15  # fraction of a text's shingles that may be in earlier texts
OPENING_WORDS, OPENINGS_MOST = 5, 40  # how many texts may begin with the same words


def whole_sentences(text: str) -> str:
    """`text` up to the end of its last complete sentence."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else ""


def fault(text: str) -> str | None:
    """Why a text is not kept, in a word or two; None: it is kept."""
    words = text.lower().split()
    if not LEAST_WORDS <= len(words) <= MOST_WORDS:
        return "length"
    if FILMS.search(text):
        return "films"
    if LEFTOVERS.search(text):
        return "leftovers"
    letters = sum(character.isascii() and (character.isalpha() or character in " ,.'\n") for character in text)
    if letters < 0.95 * len(text) or sum(word in COMMON for word in words) < 0.25 * len(words):
        return "language"
    if repeats(words, text):
        return "repetition"
    return None


def repeats(words: list[str], text: str) -> bool:
    """Whether a text repeats itself: fewer than 90 % of its four-word sequences are different, or a sentence of five words comes twice."""
    grams = [tuple(words[index : index + 4]) for index in range(len(words) - 3)]
    if len(set(grams)) < 0.9 * len(grams):
        return True
    sentences = [sentence.strip().lower() for sentence in re.split(r"[.!?\n]+", text) if len(sentence.split()) >= 5]
    return len(set(sentences)) < len(sentences)


class Novelty:
    """Which texts are too like an earlier one: shared sequences of eight words, or a beginning that many have."""

    def __init__(self) -> None:
        self.shingles: set[int] = set()
        self.openings: dict[tuple[str, ...], int] = {}

    def is_new(self, text: str) -> bool:
        """Whether `text` is unlike the earlier ones; if so it is remembered."""
        words = re.findall(r"\w+", text.lower())
        found = {zlib.crc32(" ".join(words[index : index + SHINGLE]).encode()) for index in range(len(words) - SHINGLE + 1)}
        opening = tuple(words[:OPENING_WORDS])
        if len(found & self.shingles) > SEEN_MOST * len(found) or self.openings.get(opening, 0) >= OPENINGS_MOST:
            return False
        self.shingles |= found
        self.openings[opening] = self.openings.get(opening, 0) + 1
        return True


def kept(documents: Iterable[Document], counts: dict[str, int], earlier: Iterable[Document] = ()) -> Iterator[Document]:
    """The good ones among `documents`, cut after their last complete sentence. Counts in `counts` why documents were left out.

    earlier  documents that were kept before; what is too like them is left out, too
    """
    novelty = Novelty()
    for document in earlier:
        novelty.is_new(document.text)
    for document in documents:
        text = whole_sentences(document.text.replace("’", "'").replace("“", '"').replace("”", '"'))
        reason = fault(text) or (None if novelty.is_new(text) else "near duplicate")
        counts[reason or "kept"] = counts.get(reason or "kept", 0) + 1
        if reason is None:
            yield Document(document.source, text)
