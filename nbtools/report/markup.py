"""Text from notebooks as safe HTML: Markdown with formulas, highlighted code, and sanitised HTML outputs.

Formulas become MathML, which every current browser draws by itself, when `latex2mathml` and `mdit-py-plugins` are installed
(extra `run`); without them a formula is shown as its TeX source.
"""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Callable
from importlib.util import find_spec
from xml.etree.ElementTree import Element, tostring

from markupsafe import Markup, escape

TAGS = set(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd "
    "li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul".split()
)
DROPPED = set("iframe math noscript object script style svg template textarea title".split())  # with what is inside
ATTRIBUTES = set(
    "alt aria-hidden aria-label colspan dir height href lang open role rowspan scope src start style title width".split()  # of any tag
)
# The CSS that an output may bring: properties that fetch nothing and stay within the element, with words, numbers and colours as values.
STYLE = re.compile(
    r"(background-color|border(-\w+)?|color|font(-\w+)?|(max-|min-)?(width|height)|overflow-wrap|padding(-\w+)?|text-align"
    r"|text-decoration|vertical-align|white-space|word-break)\s*:(?:[\w\s.,#%-]++|(?:(?<=rgb)|(?<=rgba))\([\w\s.,%]*+\))++"
)
# Of a formula: only what lays it out. A link, a class, a style or a handler in TeX (\href, \class, \style) is dropped.
MATH_ATTRIBUTES = set(
    "accent columnalign columnlines columnspacing depth display displaystyle fence form height linethickness lspace mathcolor mathsize "
    "mathvariant maxsize minsize movablelimits notation rowlines rowspacing rspace scriptlevel separator stretchy symmetric voffset width "
    "xmlns".split()
)

Relink = Callable[[str], str | None]


def keep_link(target: str) -> str | None:
    """A link as it is when it leads to the web or within the page; None otherwise."""
    return target if re.match(r"(https?://|mailto:|#)", target) else None


def clean_html(text: str, relink: Relink = keep_link) -> Markup:
    """HTML without scripts, forms, remote pictures and styles that fetch or cover something, and with balanced tags.

    relink  given a link's target, the target to write or None for plain text
    """
    import nh3

    def filter_attribute(tag: str, name: str, value: str) -> str | None:
        if name == "style":
            return ";".join(filter(STYLE.fullmatch, map(str.strip, value.split(";")))) or None
        if name == "href":
            return relink(value.strip()) if tag == "a" else None
        if name == "src":
            return value if tag == "img" and value.startswith("data:image/") else None
        return value

    cleaned = nh3.clean(
        text,
        tags=TAGS,
        clean_content_tags=DROPPED,
        attributes={"*": ATTRIBUTES},
        attribute_filter=filter_attribute,
        url_schemes={"data", "http", "https", "mailto"},
        link_rel="noreferrer",
    )
    return Markup(cleaned.replace("<img>", ""))  # what is left of a remote picture without a description


def render_markdown(text: str, relink: Relink = keep_link) -> Markup:
    """Markdown with tables, formulas in $…$, code blocks and simple HTML, as safe HTML."""
    from markdown_it import MarkdownIt

    finished: list[Markup] = []
    # Drawn anew each time: a text that could spell a mark, as &#xe000; say, would have a piece put where it closes an attribute.
    key = secrets.token_hex(8)

    def hold(piece: Markup) -> str:
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
    return Markup(re.sub(f"\ue000{key}:(\\d+)\ue001", lambda mark: finished[int(mark[1])], body))


def render_formula(tex: str, display: bool = False) -> Markup:
    """TeX as MathML with the source as its label; as code where it cannot be converted."""
    try:
        from latex2mathml.converter import convert_to_element

        drawn = convert_to_element(tex, display="block" if display else "inline")
    except Exception:  # not installed, or TeX that it does not know: the source is still right
        drawn = Element("code", {"class": "tex"})
        drawn.text = tex
    else:
        for element in drawn.iter():
            element.attrib = {name: value for name, value in element.attrib.items() if name in MATH_ATTRIBUTES}
            # The converter writes symbols as &#x0003D; and later unescapes its complete result, so that \\text{<b>} would become a tag.
            element.text = html.unescape(element.text) if element.text else element.text
        drawn.attrib = {"aria-label": tex, **drawn.attrib}
    return Markup(tostring(drawn, encoding="unicode", short_empty_elements=False))


def highlight(code: str, language: str = "python") -> Markup:
    """Source code with a class on each piece, without an enclosing element; plain where the language is unknown."""
    from pygments import highlight as colour
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return escape(code)
    return Markup(colour(code, lexer, HtmlFormatter(nowrap=True)))
