"""A notebook's parameters: parse its `parameters` cell and check given values.

The cell is parsed as Python, because papermill's own parser skips lines with a second "=" (in a string or a comment).
"""

from __future__ import annotations

import ast
import functools
import io
import math
import numbers
import re
import tokenize
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbtools.errors import InputError
from nbtools.notebooks.catalog import Notebook
from nbtools.profiles import AUTO, get_profile, resolve_profile
from nbtools.values import CHECKS, near_miss, shown

# Words that a parameter's name may not contain, because papermill stores every parameter as plain text in the executed notebook.
SECRET_WORDS = {"apikey", "auth", "credential", "credentials", "key", "passphrase", "passwd", "password", "pwd", "secret", "token"}
# Tokens of the Hub, OpenAI, GitHub, AWS, Google and Slack, signed tokens, private keys, and a password in an address.
SECRET_VALUE = re.compile(
    r"\b(hf|sk|gh[pousr]|github_pat)[_-][A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}"
    r"|(?<![\w-])eyJ[\w-]{10,}\.[\w-]{10,}\.|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s@]+@"
)

KINDS = {
    "int": "a whole number such as 20",
    "float": "a number such as 1e-4",
    "bool": "True or False",
    "str": "text",
    "list": "a list such as [1, 2]",
    "dict": "a dictionary such as {'a': 1}",
}
CLASSES: dict[str, Any] = {"int": numbers.Integral, "float": numbers.Real, "bool": bool, "str": str, "list": (list, tuple), "dict": dict}


@dataclass(frozen=True)
class Parameter:
    """One line of a `parameters` cell.

    name      the variable
    kind      "int", "float", "bool", "str", "list", "dict", or "" if neither annotation nor default tells
    inner     the kind of a list's elements, or ""
    optional  whether None is allowed (the default is None, or the annotation says so)
    default   the value in the cell; None if it is not a literal
    help      the comment at the line's end
    """

    name: str
    kind: str
    inner: str
    optional: bool
    default: Any
    help: str


def read_parameters(notebook: Notebook) -> dict[str, Parameter]:
    """The parameters of a notebook by name, in order. Raises InputError if the cell is not valid Python."""
    try:
        return dict(declared(notebook.parameter_source))
    except SyntaxError as error:
        raise InputError(
            f"The parameters cell of {notebook.name} is not valid Python: {error.msg}.", "Correct that cell in Jupyter."
        ) from None


def all_values(notebook: Notebook, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all parameters of a notebook: the `given` ones, and defaults for the others; the profile is the one that is used."""
    values = {name: parameter.default for name, parameter in read_parameters(notebook).items()} | dict(given)
    return values | ({"profile": resolve_profile(AUTO)} if values.get("profile") == AUTO else {})


@functools.lru_cache(maxsize=100)
def declared(source: str) -> Mapping[str, Parameter]:
    """The parameters that the `source` of a cell declares. Raises SyntaxError."""
    lines = ast.parse(source).body
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for line in lines:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            name, annotation, value = line.target.id, ast.unparse(line.annotation).strip("'\""), line.value
        elif isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            name, annotation, value = line.targets[0].id, "", line.value
        else:
            continue
        found[name] = _declare(name, annotation, value, comments.get(line.end_lineno or 0, ""))
    return found


def check_parameters(notebooks: Iterable[Notebook], given: Mapping[str, Any], profile: str | None = None) -> dict[str, dict[str, Any]]:
    """Check parameters for notebooks and convert them to their declared types.

    notebooks  a parameter is passed to those that declare it, and at least one must
    given      values as text (from a command line) or as Python values
    profile    the value of a parameter `profile`

    Returns the parameters by notebook name. Raises InputError for an unknown name (with the nearest one), a wrong type, an invalid value,
    an unknown profile, and a name or value that looks like a secret.
    """
    given = dict(given)
    for name, value in given.items():
        check_secret(name, value)
    if profile is not None:
        if given.get("profile", profile) != profile:
            raise InputError(f"Two profiles are given: {profile!r} and {given['profile']!r}.", "Give one of them.")
        given["profile"] = profile
    by_notebook = {notebook.name: read_parameters(notebook) for notebook in notebooks}
    known = list(dict.fromkeys(name for parameters in by_notebook.values() for name in parameters))
    for name in given:
        if name not in known:
            guess = near_miss(name, known)
            listing = f"The parameters are: {', '.join(known)}." if known else "The chosen notebooks have no parameters."
            raise InputError(f"No chosen notebook has a parameter called {name!r}.", guess + listing)
    return {
        notebook: _with_profile(parameters, {name: coerce(parameters[name], value) for name, value in given.items() if name in parameters})
        for notebook, parameters in by_notebook.items()
    }


def _with_profile(parameters: Mapping[str, Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """The given parameters, with the profile that "auto" means here: a run's identity must say which model it has.

    Where it is mini, as almost everywhere, a profile that was not given stays out.
    """
    if "profile" not in parameters or given.get("profile", parameters["profile"].default) != AUTO:
        return given
    found = resolve_profile(AUTO)
    return given | {"profile": found} if "profile" in given or found != "mini" else given


def check_secret(name: str, value: Any) -> None:
    """Raise InputError, which does not repeat the value, if a parameter or an element of it looks like a password or a token."""
    if isinstance(value, Mapping):
        for key, element in value.items():
            check_secret(str(key), element)
    elif isinstance(value, (list, tuple)):
        for element in value:
            check_secret(name, element)
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().split("_")
    if SECRET_WORDS & set(words) or (isinstance(value, str) and SECRET_VALUE.search(value)):
        raise InputError(
            f"The parameter {name!r} looks like a secret, and parameters are stored in the executed notebook.",
            "Set a secret as an environment variable instead (a Hugging Face token is found in HF_TOKEN).",
        )


def coerce(parameter: Parameter, value: Any) -> Any:
    """Convert `value` to the type that `parameter` declares: text is parsed, Python values must have it. Raises InputError."""
    name = parameter.name
    if value is None or (parameter.optional and value == "None"):
        if not parameter.optional:
            raise InputError(f"{name} cannot be None.", f"Give {KINDS.get(parameter.kind, 'a value')}.")
        return None
    try:
        result = _as_kind(parameter.kind, parameter.inner, value)
    except (ValueError, KeyError, SyntaxError, TypeError, OverflowError, RecursionError):
        wanted = KINDS.get(parameter.kind, "a value")
        raise InputError(f"{name} must be {wanted.partition(' such')[0]}, and {shown(value)} is not.", f"Give {wanted}.") from None
    if name == "profile" and isinstance(result, str) and result != AUTO:
        get_profile(result)
    if name in CHECKS and not isinstance(result, (list, dict)):
        CHECKS[name](name, result)
    return result


def _as_kind(kind: str, inner: str, value: Any) -> Any:
    """Convert `value` or raise an error. True and False are not accepted as numbers."""
    if isinstance(value, str) and kind != "str":
        value = PARSERS.get(kind, _literal_or_text)(value)
    if kind and (not isinstance(value, CLASSES[kind]) or isinstance(value, bool) != (kind == "bool")):
        raise ValueError
    if kind == "int":
        return int(value)
    if kind == "float":
        if not math.isfinite(number := float(value)):
            raise ValueError
        return number
    if kind == "list":
        return [_as_kind(inner, "", element) for element in value]
    return value


def _read_bool(text: str) -> bool:
    return {"true": True, "false": False}[text.strip().lower()]


def _read_list(text: str) -> Any:
    """ "[1, 2]" or "1, 2"; elements that are not literals stay text."""
    if text.strip().startswith(("[", "(")):
        return ast.literal_eval(text.strip())
    return [element.strip() for element in text.split(",") if element.strip()]


def _literal_or_text(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


PARSERS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": _read_bool, "list": _read_list}


def _declare(name: str, annotation: str, value: ast.expr, comment: str) -> Parameter:
    try:
        default = ast.literal_eval(value)
    except ValueError:
        default = None
    words = re.findall(r"[A-Za-z]+", annotation)
    named = [word.lower() for word in words if word.lower() in KINDS]
    if not named and default is not None and type(default).__name__ in KINDS:
        named = [type(default).__name__]
    kind, inner = (named[0], named[1] if len(named) > 1 and named[0] == "list" else "") if named else ("", "")
    if kind == "list" and not inner and isinstance(default, list) and default:
        inner = type(default[0]).__name__ if type(default[0]).__name__ in KINDS else ""
    literal_none = isinstance(value, ast.Constant) and value.value is None
    return Parameter(name, kind, inner, literal_none or "None" in words or "Optional" in words, default, comment)
