"""What an attacker would write into a text, and what must not be found in anything that shows it."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

SCRIPT = "<script>alert(1)</script>"
TEXTS = [
    SCRIPT,
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "'><a href='javascript:alert(1)'>here</a>",
    "</pre></td></table><iframe src=http://evil.example>",
    "\x1b]0;owned\x07\x1b[2J\x1b[31m and \x9b31m",
    "admin\u202egpj.exe\u202c \u2066x\u2069",
    "{0.__class__.__mro__} %s %(x)n ${HOME} {{7*7}} {output}",
    "[link=http://evil.example]here[/link] [/bold] [red]",
    r"$\text{<script>alert(1)</script>}$ and $\href{javascript:alert(1)}{x}$",
    '=HYPERLINK("http://evil.example")',
]
ALL = " ".join(TEXTS)
REACHES_OUT = re.compile(r"url\s*\(|image-set\s*\(|@import|expression", re.IGNORECASE)


class _Active(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.style = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "embed", "base", "form", "link", "template", "noscript", "textarea", "foreignobject"}:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            text = (value or "").strip().lower()
            if name.startswith("on") or name == "srcdoc" or text.startswith(("javascript:", "data:text", "vbscript:")):
                self.found.append(f"{tag} {name}={value}")
            if name in {"src", "srcset", "background", "poster"} and not text.startswith("data:image/"):
                self.found.append(f"{tag} {name}={value}")
            if name == "style" and REACHES_OUT.search(text):
                self.found.append(f"{tag} {name}={value}")


def active_parts(html: str) -> list[str]:
    """Whatever in the HTML runs, fetches or sends something; a page that only shows has none of it."""
    parser = _Active()
    parser.feed(html)
    parser.close()
    return parser.found


def controls(text: str) -> list[str]:
    """The characters that a terminal would obey, or that reorder a line."""
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


class Runs:
    """A pickle that makes a file when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.mark), 0o755)
