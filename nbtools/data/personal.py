"""A simple scan for personal data and keys, to run before training or sharing. It finds data with a fixed format, not names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nbtools.texts import check_texts
from nbtools.values import checked

KINDS: dict[str, re.Pattern[str]] = {  # of two matches that overlap, the kind that is listed first is taken
    "key or token": re.compile(
        r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}"
        r"|(?<![\w-])eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    ),
    "bank account (IBAN)": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "card number": re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-])"),
    "e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "telephone number": re.compile(
        r"(?<![\w.,/-])(?<!\d )(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?|\(\d{2,4}\) ?|0)\d(?:[ ./-]?\d){6,11}(?! ?[\w-]*\d)(?![\w-])"
    ),
}
SHOWN = 2  # characters shown at each end of a match


@dataclass(frozen=True)
class PersonalData:
    """A match that looks like personal data."""

    kind: str
    """A key of KINDS, such as "e-mail address"."""
    text: int
    """Index of the text."""
    masked: str
    """The first and last characters only."""


@checked()
def find_personal_data(texts: Sequence[str]) -> list[PersonalData]:
    """Return everything in `texts` that has the format of an address, a number or a key, in order and masked.

    Card numbers must pass the Luhn check (ISO/IEC 7812-1) and IBANs the mod-97 check (ISO 13616); otherwise any long number would match.
    Raises InputError for anything but a collection of strings.
    """
    found = []
    for number, text in enumerate(check_texts(texts)):
        taken: list[tuple[int, int]] = []
        for kind, pattern in KINDS.items():
            for match in pattern.finditer(text):
                if _is_real(kind, match[0]) and not any(start < match.end() and match.start() < end for start, end in taken):
                    taken.append(match.span())
                    found.append(PersonalData(kind, number, mask(match[0])))
    return found


def mask(text: str) -> str:
    """Return the first and last characters of `text`; neither the rest nor its length is shown."""
    return f"{text[:SHOWN]}…{text[-SHOWN:]}" if len(text) > 3 * SHOWN else "…"


def describe_personal_data(found: Sequence[PersonalData]) -> str:
    """Return one line per kind with a few masked examples, or one line saying that nothing was found and what that means."""
    if not found:
        kinds = "No e-mail address, telephone number, card, bank account or key was found."
        return f"{kinds} Names and stories are not looked for: read some of the texts."
    lines = []
    for kind, count in Counter(match.kind for match in found).most_common():
        examples = list(dict.fromkeys(match.masked for match in found if match.kind == kind))[:3]
        texts = len({match.text for match in found if match.kind == kind})
        lines.append(f"{count:,} × {kind} in {texts:,} text{'' if texts == 1 else 's'}, such as {', '.join(examples)}")
    lines.append("A model may repeat what it was trained on. Take them out before training, and before sharing model or data.")
    return "\n".join(lines)


def _is_real(kind: str, text: str) -> bool:
    digits = [int(character) for character in text if character.isdigit()]
    if kind == "card number":
        doubled = [sum(divmod(2 * digit, 10)) if index % 2 else digit for index, digit in enumerate(reversed(digits))]
        return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0
    if kind == "bank account (IBAN)":
        plain = text.replace(" ", "")
        return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1
    return True
