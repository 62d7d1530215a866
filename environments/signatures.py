"""What the package calls in other people's libraries, and how those functions are declared where this runs.

    python -m environments.signatures FILE

writes the declarations found in this environment. `oldest` and `newest` keep theirs, and tests/test_signatures.py holds every call to both.
Found are names imported from a library, their attributes, classes that derive from one of them, and `super().__init__` in such a class; a
method of an object that a call has returned cannot be told from its name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nbtools.storage import Kind, destination, write_text
from nbtools.storage.json_files import read_object

PACKAGE = Path(__file__).parents[1] / "nbtools"
LIBRARIES = ("transformers", "datasets", "papermill")
SCHEMA = 1


@dataclass(frozen=True)
class Call:
    """One call of a library's function.

    target      dotted name of the function, such as "transformers.AutoTokenizer.from_pretrained"
    place       file and line
    positional  how many arguments stand without a name
    keywords    the names of the others
    open        whether further ones come from `*…` or `**…`
    """

    target: str
    place: str
    positional: int
    keywords: tuple[str, ...]
    open: bool


def imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> dotted name, of everything that a file imports from one of the libraries, in functions too."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in LIBRARIES:
                    whole = alias.name if alias.asname else alias.name.split(".")[0]
                    names[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in LIBRARIES:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """The dotted name that an expression such as `AutoModel.from_pretrained` stands for, or None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (base := dotted(node.value, names)):
        return f"{base}.{node.attr}"
    return None


def derived(trees: dict[str, ast.Module]) -> dict[str, str]:
    """The package's own classes that take a library class's arguments: name -> dotted name of that class."""
    found = {}
    for tree in trees.values():
        names = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not _initializer(node):
                for base in filter(None, (dotted(one, names) for one in node.bases)):
                    found[node.name] = base
    return found


def _initializer(node: ast.ClassDef) -> bool:
    return any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in node.body)


def calls(trees: dict[str, ast.Module]) -> list[Call]:
    """Every call of a library's function in these files (name -> syntax tree), in order."""
    ours, found = derived(trees), []
    for file, tree in trees.items():
        names = ours | imported(tree)
        for node, base in _with_class(tree, names):
            target = dotted(node.func, names)
            if target is None and base and ast.unparse(node.func) == "super().__init__":
                target = base
            if target:
                plain = [one for one in node.args if not isinstance(one, ast.Starred)]
                named = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
                loose = len(plain) < len(node.args) or len(named) < len(node.keywords)
                found.append(Call(target, f"{file}:{node.lineno}", len(plain), named, loose))
    return found


def _with_class(tree: ast.AST, names: dict[str, str], base: str | None = None) -> Iterator[tuple[ast.Call, str | None]]:
    """The calls below `tree`, each with the library class that the class around it derives from."""
    for node in ast.iter_child_nodes(tree):
        inside = base
        if isinstance(node, ast.ClassDef):
            inside = next((found for one in node.bases if (found := dotted(one, names))), None)
        if isinstance(node, ast.Call):
            yield node, inside
        yield from _with_class(node, names, inside)


def package_trees() -> dict[str, ast.Module]:
    """The syntax tree of every module of nbtools, by its path."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {file.relative_to(PACKAGE.parent).as_posix(): ast.parse(file.read_text(encoding="utf8")) for file in files}


def needed(trees: dict[str, ast.Module]) -> set[str]:
    """The dotted names of all that is imported from the libraries or called there."""
    return {name for tree in trees.values() for name in imported(tree).values()} | {call.target for call in calls(trees)}


def look_up(target: str) -> Any:
    """The object that a dotted name means in this environment. Raises AttributeError or ImportError where there is none."""
    module, *rest = target.split(".")
    found = importlib.import_module(module)
    for at, part in enumerate(rest, 2):
        try:
            found = getattr(found, part)
        except AttributeError:  # a module that its package does not load by itself
            found = importlib.import_module(".".join(target.split(".")[:at]))
    return found


def declaration(target: str) -> str | None:
    """How the function is declared, defaults as `...`, without annotations: "(path, *, split=..., **config)".

    An empty text for what cannot be called; None where the name does not exist here.
    """
    try:
        found = look_up(target)
    except (AttributeError, ImportError):
        return None
    if not callable(found):
        return ""
    parameters = [
        parameter.replace(annotation=parameter.empty, default=parameter.empty if parameter.default is parameter.empty else _ELLIPSIS)
        # transformers copies its class methods by a wrapper of a method that is bound already: followed, an argument too many is taken off.
        for parameter in inspect.signature(found, follow_wrapped=not inspect.ismethod(found)).parameters.values()
    ]
    return str(inspect.Signature(parameters))


class _Written:
    def __repr__(self) -> str:
        return "..."


_ELLIPSIS = _Written()


def signature(declared: str) -> inspect.Signature:
    """What `declaration` wrote, as a signature that arguments can be bound to."""
    given = ast.parse(f"def f{declared}: ...").body[0].args  # type: ignore[attr-defined]
    kinds, empty = inspect.Parameter, inspect.Parameter.empty
    first = [(one.arg, kinds.POSITIONAL_ONLY) for one in given.posonlyargs] + [(one.arg, kinds.POSITIONAL_OR_KEYWORD) for one in given.args]
    required = len(first) - len(given.defaults)
    parameters = [kinds(name, kind, default=empty if at < required else ...) for at, (name, kind) in enumerate(first)]
    parameters += [kinds(given.vararg.arg, kinds.VAR_POSITIONAL)] if given.vararg else []
    named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parameters += [kinds(one.arg, kinds.KEYWORD_ONLY, default=empty if default is None else ...) for one, default in named]
    parameters += [kinds(given.kwarg.arg, kinds.VAR_KEYWORD)] if given.kwarg else []
    return inspect.Signature(parameters)


def complaint(call: Call, declared: str | None) -> str | None:
    """Why a function declared so does not take this call, or None where it does."""
    if not declared:
        return f"{call.place}: {call.target} " + ("does not exist" if declared is None else "cannot be called")
    form = signature(declared)
    try:
        (form.bind_partial if call.open else form.bind)(*[None] * call.positional, **dict.fromkeys(call.keywords))
    except TypeError as error:
        return f"{call.place}: {call.target}: {error}"
    return None


def main(file: str) -> int:
    """Write what this environment declares; 1 where a name does not exist in it."""
    target = destination(file, Kind("a list of signatures", lambda earlier: "declared" in read_object(earlier), is_file=True), "FILE")
    found = {target: declaration(target) for target in sorted(needed(package_trees()))}
    missing = [target for target, declared in found.items() if declared is None]
    body = {"schema": SCHEMA, "versions": {name: version(name) for name in LIBRARIES}, "declared": found}
    write_text(target, json.dumps(body, indent=1) + "\n")
    for target in missing:
        print(f"{target} does not exist here", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
