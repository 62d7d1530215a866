"""Every regular expression of the package on long adversarial input: its time must not grow with the square of the length."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import nbtools
from nbtools.data.cleaning import clean, html_to_text, tidy

PACKAGE = Path(nbtools.__file__).parent
FACTOR = 16  # how much longer the long input is
MOST = 60  # how many times the time it may take: 16 for work that is linear, 256 for work that is quadratic
TRIES = 10  # measurements before a pattern is called quadratic: on a busy machine most are disturbed
SHORT = 500  # characters
LETTERS = " aA0.@/\n\t_\x1b\u4e00!-"  # the first, and the last, of these that a set of characters holds is tried


def inline_patterns() -> Iterator[tuple[str, re.Pattern[str], bool]]:
    """Patterns in calls such as re.sub("…", …), with file and line, and whether they match only at the start of a text."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args):
                continue
            try:
                source = ast.literal_eval(node.args[0])
            except ValueError:
                continue  # made of parts: found below, where a module keeps it
            given = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
            flags = [
                getattr(re, value.attr) for value in given if isinstance(value, ast.Attribute) and ast.unparse(value).startswith("re.")
            ]
            anchored = ast.unparse(node.func) in ("re.match", "re.fullmatch")
            yield f"{file.relative_to(PACKAGE)}:{node.lineno}", re.compile(source, *flags[:1]), anchored


def kept_patterns() -> Iterator[tuple[str, re.Pattern[str], bool]]:
    """Compiled patterns that a module keeps under a name, also in dictionaries and lists."""
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name in ("__main__.py",) or "re." not in file.read_text(encoding="utf8"):
            continue
        module = importlib.import_module("nbtools." + ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))
        for name, value in vars(module).items():
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
            for index, one in enumerate(inner):
                if isinstance(one, re.Pattern) and isinstance(one.pattern, str):
                    yield f"{module.__name__}.{name}{index or ''}", one, False


def example(tree: Any, letters: str) -> list[str]:
    """Characters that a parsed pattern can match one after the other; a repeated part comes as often as it must, and once at least."""
    found: list[str] = []
    for kind, value in tree:
        name = str(kind)
        if name == "LITERAL":
            found.append(chr(value))
        elif name in ("NOT_LITERAL", "ANY"):
            found.append("x")
        elif name == "IN":
            found.append(member(value, letters))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            found += example(value[2], letters) * min(max(1, value[0]), 24)
        elif name == "SUBPATTERN":
            found += example(value[3], letters)
        elif name == "BRANCH":
            found += example(value[1][0], letters)
    return found


def member(choices: Any, letters: str) -> str:
    for candidate in letters:
        if _matches(choices, candidate):
            return candidate
    return "a"


def _matches(choices: Any, character: str) -> bool:
    negated = any(str(kind) == "NEGATE" for kind, _ in choices)
    hit = False
    for kind, value in choices:
        name = str(kind)
        if name == "LITERAL":
            hit |= ord(character) == value
        elif name == "RANGE":
            hit |= value[0] <= ord(character) <= value[1]
        elif name == "CATEGORY":
            sort = str(value).removeprefix("CATEGORY_")
            base = {"DIGIT": character.isdigit(), "SPACE": character.isspace(), "WORD": character.isalnum() or character == "_"}
            hit |= not base[sort.removeprefix("NOT_")] if sort.startswith("NOT_") else base[sort]
    return hit != negated


def branches(tree: Any) -> Iterator[Any]:
    """The tree itself, and each alternative of a branch at its top in its place."""
    yield tree
    for index, (kind, value) in enumerate(tree):
        if str(kind) == "BRANCH":
            for choice in value[1]:
                yield [*list(tree)[:index], *list(choice), *list(tree)[index + 1 :]]
        elif str(kind) == "SUBPATTERN" and any(str(inner) == "BRANCH" for inner, _ in value[3]):
            for choice in branches(value[3]):
                yield [*list(tree)[:index], *list(choice), *list(tree)[index + 1 :]]


def hurtful(pattern: re.Pattern[str]) -> list[tuple[str, str, str]]:
    """(beginning, what is repeated, end): a match broken off at every place, and its pieces, again and again."""
    found: dict[tuple[str, str, str], None] = {}
    for tree in branches(_parser.parse(pattern.pattern, pattern.flags)):
        for letters in (LETTERS, LETTERS[::-1]):
            match = "".join(example(tree, letters))[:100]
            places = [at for at in range(1, len(match) + 1) if not _is_inside(match, at)]
            pieces = {match[:at] for at in places} | set(match)
            found.update(dict.fromkeys(("", piece, end) for piece in pieces for end in ("", "\n\0")))
            found.update(dict.fromkeys((match[: at - 1], match[at - 1], "\n\0") for at in places))
            found.update(dict.fromkeys((match[:at], " ", "\0") for at in places))
    return list(found)


def _is_inside(match: str, at: int) -> bool:
    """Whether a place is within a word, or within a run of one character: the ends of these stand for it."""
    return (match[at - 1 : at + 1].isalpha() and at < len(match)) or len(set(match[at - 2 : at + 1])) == 1 < at < len(match)


def seconds(pattern: re.Pattern[str], text: str, anchored: bool = False) -> float:
    """Processor time of one search through all of `text`, the least of two."""
    taken = []
    for _ in range(2):
        begun = time.process_time_ns()
        if anchored:
            pattern.match(text)
        else:
            sum(1 for _ in pattern.finditer(text))
        taken.append(time.process_time_ns() - begun)
    return min(taken) / 1e9


def growth(pattern: re.Pattern[str], case: tuple[str, str, str], anchored: bool = False) -> float:
    """How many times as long a search takes when the input is FACTOR times as long.

    Compared with a search that is known to be linear on the short input, below which no time is believed: a clock has its grain.
    """
    beginning, piece, end = case
    short, long = (beginning + piece * (length // len(piece)) + end for length in (SHORT, SHORT * FACTOR))
    grain = seconds(re.compile(r"[^\x00]*?\x01"), short[:80])
    return seconds(pattern, long, anchored) / max(seconds(pattern, short, anchored), grain, 5e-6)


# Each pattern once: those that a module keeps are named by it.
PATTERNS = {
    place: found
    for found, place in {(pattern, anchored): place for place, pattern, anchored in [*inline_patterns(), *kept_patterns()]}.items()
}


def test_the_patterns_of_the_package_are_found():
    assert len(PATTERNS) > 30 and "nbtools.data.cleaning._BREAK" in PATTERNS and "nbtools.data.personal.KINDS4" in PATTERNS


@pytest.mark.parametrize("place", PATTERNS)
def test_a_pattern_takes_no_quadratic_time_on_long_input(place):
    pattern, anchored = PATTERNS[place]
    for case in hurtful(pattern):
        if growth(pattern, case, anchored) > MOST:
            again = min(growth(pattern, case, anchored) for _ in range(TRIES))
            assert again < MOST, f"{pattern.pattern!r} on {case}: {again:.0f} times as long for {FACTOR} times the length"


@pytest.mark.parametrize("source", [r"\s*<br>", r"<br\s*/?\s*>", r"\x1b\][^\x07]*\x07", r"\beyJ[\w-]{10,}\.\w", r"a+b", r"^.* of .* x$"])
def test_a_quadratic_pattern_is_detected(source):
    pattern = re.compile(source, re.MULTILINE)
    assert any(growth(pattern, case) > MOST for case in hurtful(pattern))


@pytest.mark.parametrize("clean", [clean, tidy, html_to_text])
@pytest.mark.parametrize(
    "parts",
    [("a", " ", "b"), ("a", "\n", "b"), ("", "<br", ">"), ("<br", " ", "x"), ("<", "p ", ""), ("&#", "9", ";"), ("", "\r\n \t", "b")],
)
def test_cleaning_takes_no_quadratic_time_on_long_runs(clean, parts):
    def taken(count: int) -> float:
        text = parts[0] + parts[1] * count + parts[2]
        begun = time.process_time_ns()
        for _ in range(3):
            clean(text)
        return max((time.process_time_ns() - begun) / 1e9, 2e-5)

    assert min(taken(1_000 * FACTOR) / taken(1_000) for _ in range(2)) < MOST
