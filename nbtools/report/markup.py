"""Text from notebooks as safe HTML: Markdown with formulas, highlighted code, and HTML outputs cut down to what only shows.

Formulas become MathML, which every current browser draws by itself, when `latex2mathml` and `mdit-py-plugins` are installed
(extra `run`); without them a formula stays readable as its TeX source.
"""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.util import find_spec
from xml.etree.ElementTree import tostring

# Pages carry this policy as a second lock: even where something slipped through, no script runs and nothing is fetched.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

TAGS = set(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd "
    "li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul".split()
)
VOID = {"br", "col", "hr", "img"}
SILENT = {"iframe", "math", "noscript", "object", "script", "style", "svg", "template", "textarea", "title"}
ATTRIBUTES = {
    "alt",
    "aria-hidden",
    "aria-label",
    "colspan",
    "dir",
    "height",
    "lang",
    "open",
    "role",
    "rowspan",
    "scope",
    "start",
    "title",
    "width",
}
# What fetches something, hides what stands elsewhere, or spells either in another way.
STYLE_FORBIDDEN = re.compile(r"(url|image|image-set|cross-fade|src|element)\s*\(|expression|@import|position\s*:|/\*|\\", re.IGNORECASE)
# Of a formula: only what lays it out. A link, a class, a style or a handler in TeX (\href, \class, \style) is dropped.
MATH_ATTRIBUTES = set(
    "accent columnalign columnlines columnspacing depth display displaystyle fence form height linethickness lspace mathcolor mathsize "
    "mathvariant maxsize minsize movablelimits notation rowlines rowspacing rspace scriptlevel separator stretchy symmetric voffset width "
    "xmlns".split()
)

Relink = Callable[[str], str | None]


def escape(value: object) -> str:
    """Any value as text that is safe in HTML, in attributes too."""
    return html.escape(str(value), quote=True)


def keep_link(target: str) -> str | None:
    """A link as it is when it leads to the web or within the page; None otherwise."""
    return target if re.match(r"(https?://|mailto:|#)", target) else None


class _Cleaner(HTMLParser):
    """Copies the tags in TAGS with harmless attributes, closes what was left open, drops the rest and keeps its text."""

    def __init__(self, relink: Relink) -> None:
        super().__init__(convert_charrefs=True)
        self.relink = relink
        self.pieces: list[str] = []
        self.open: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SILENT:
            self.silent.append(tag)
        if self.silent or tag not in TAGS:
            return
        given = {name: value or "" for name, value in attrs}
        if tag == "img" and not given.get("src", "").startswith("data:image/"):
            self.pieces.append(escape(given.get("alt", "")))
            return
        kept = [f' {name}="{escape(value)}"' for name, value in given.items() if name in ATTRIBUTES]
        if "style" in given and not STYLE_FORBIDDEN.search(given["style"]):
            kept.append(f' style="{escape(given["style"])}"')
        if tag == "img":
            kept.append(f' src="{escape(given["src"])}"')
        if tag == "a" and (target := self.relink(given.get("href", "").strip())):
            kept.append(f' href="{escape(target)}" rel="noreferrer"')
        self.pieces.append(f"<{tag}{''.join(kept)}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            if tag == self.silent[-1]:
                self.silent.pop()
        elif tag in self.open:
            while (last := self.open.pop()) != tag:
                self.pieces.append(f"</{last}>")
            self.pieces.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.pieces.append(escape(data))

    def finish(self) -> str:
        self.close()
        return "".join(self.pieces) + "".join(f"</{tag}>" for tag in reversed(self.open))


def clean_html(text: str, relink: Relink = keep_link) -> str:
    """The part of some HTML that only shows something: no scripts, no styles that reach out, no remote pictures, balanced tags.

    relink  given a link's target, the target to write or None for plain text
    """
    cleaner = _Cleaner(relink)
    cleaner.feed(text)
    return cleaner.finish()


def render_markdown(text: str, relink: Relink = keep_link) -> str:
    """Markdown with tables, formulas in $…$, code blocks and simple HTML, as safe HTML."""
    from markdown_it import MarkdownIt

    finished: list[str] = []

    # Drawn anew each time: a text that could spell a mark, as &#xe000; say, would have a piece put where it closes an attribute.
    key = secrets.token_hex(8)

    def hold(piece: str) -> str:
        """Finished HTML waits under a mark while the rest is cleaned."""
        finished.append(piece)
        return f"\ue000{key}:{len(finished) - 1}\ue001"

    parser = MarkdownIt("commonmark", {"html": True, "highlight": lambda code, language, _: hold(highlight(code, language))})
    parser.enable(["table", "strikethrough"])
    if find_spec("mdit_py_plugins"):  # without it formulas stay as their source
        from mdit_py_plugins.dollarmath import dollarmath_plugin

        dollarmath_plugin(
            parser, allow_labels=False, double_inline=True, renderer=lambda tex, options: hold(render_formula(tex, options["display_mode"]))
        )
    body = clean_html(parser.render(re.sub("[\ue000\ue001]", "", text)), relink)
    return re.sub(f"\ue000{key}:(\\d+)\ue001", lambda mark: finished[int(mark[1])], body)


def render_formula(tex: str, display: bool = False) -> str:
    """TeX as MathML with the source as its label; as code where it cannot be converted."""
    try:
        from latex2mathml.converter import convert_to_element

        drawn = convert_to_element(tex, display="block" if display else "inline")
    except Exception:  # not installed, or TeX that it does not know: the source is still right
        return f'<code class="tex">{escape(tex)}</code>'
    for element in drawn.iter():
        element.attrib = {name: value for name, value in element.attrib.items() if name in MATH_ATTRIBUTES}
        # The converter writes symbols as &#x0003D; and undoes the escaping of the whole afterwards, so that \\text{<b>} would be a tag.
        element.text = html.unescape(element.text) if element.text else element.text
    drawn.attrib = {"aria-label": tex, **drawn.attrib}
    return tostring(drawn, encoding="unicode", short_empty_elements=False)


def highlight(code: str, language: str = "python") -> str:
    """Source code with a class on each piece, without an enclosing element; plain where the language is unknown."""
    from pygments import highlight as colour
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return escape(code)
    return str(colour(code, lexer, HtmlFormatter(nowrap=True)))
