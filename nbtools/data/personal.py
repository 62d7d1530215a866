"""A simple scan for personal data and keys, before anything is trained on or shared. It finds what has a form; names it cannot find."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nbtools.texts import check_texts
from nbtools.values import checked

KINDS: dict[str, re.Pattern[str]] = {
    "e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "telephone number": re.compile(
        r"(?<![\w.,/-])(?<!\d )(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?|\(\d{2,4}\) ?|0)\d(?:[ ./-]?\d){6,11}(?! ?[\w-]*\d)(?![\w-])"
    ),
    "key or token": re.compile(
        r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}"
        r"|(?<![\w-])eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    ),
    "card number": re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-])"),
    "bank account (IBAN)": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
}
SHOWN = 2  # characters at each end of what was found


@dataclass(frozen=True)
class PersonalData:
    """Something that looks like personal data. text: which of the texts, from 0; masked: its first and last characters only."""

    kind: str
    text: int
    masked: str


@checked()
def find_personal_data(texts: Sequence[str]) -> list[PersonalData]:
    """Everything in `texts` that has the form of an address, a number or a key, in order; nothing of it is given whole.

    Card numbers must pass Luhn's check (ISO/IEC 7812-1) and IBANs theirs (ISO 13616), or any long number would be one.
    """
    found = []
    for number, text in enumerate(check_texts(texts)):
        taken: list[tuple[int, int]] = []
        for kind in ("key or token", "bank account (IBAN)", "card number", "e-mail address", "telephone number"):
            for match in KINDS[kind].finditer(text):
                if _is_real(kind, match[0]) and not any(start < match.end() and match.start() < end for start, end in taken):
                    taken.append(match.span())
                    found.append(PersonalData(kind, number, mask(match[0])))
    return found


def mask(text: str) -> str:
    """The first and last characters; what stands between is not shown, nor how long it is."""
    return f"{text[:SHOWN]}…{text[-SHOWN:]}" if len(text) > 3 * SHOWN else "…"


def describe_personal_data(found: Sequence[PersonalData]) -> str:
    """One line a kind, with a few masked examples; or one line that says nothing was found, and what that means."""
    if not found:
        return "No e-mail address, telephone number, card, bank account or key was found. Names and stories are not looked for: read some."
    lines = []
    for kind, count in Counter(one.kind for one in found).most_common():
        examples = list(dict.fromkeys(one.masked for one in found if one.kind == kind))[:3]
        texts = len({one.text for one in found if one.kind == kind})
        lines.append(f"{count:,} × {kind} in {texts:,} text{'' if texts == 1 else 's'}, such as {', '.join(examples)}")
    return "\n".join(
        [*lines, "A model may repeat what it was trained on. Take them out before training, and before sharing model or data."]
    )


def _is_real(kind: str, text: str) -> bool:
    digits = [int(one) for one in text if one.isdigit()]
    if kind == "card number":
        doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
        return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0
    if kind == "bank account (IBAN)":
        plain = text.replace(" ", "")
        return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1
    return True
