"""The files of this package that a notebook's code depends on, found by following imports from its cells.

Imports are followed from subpackage to subpackage, not from module to module: code that uses one module of `nbtools.training` depends on
all files in that folder, C++, JavaScript and templates included, and on every subpackage that they import.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from pathlib import Path

import nbtools
from nbtools.profiles import MINI_FOLDER

PACKAGE = Path(nbtools.__file__).parent
HOMES: dict[str, str] = vars(nbtools)["_HOME"]  # the subpackage of each public name of the package
NAMED = re.compile(r"(?:^|-m\s+)(nbtools\.\w+)")  # a module in a string, such as "-m nbtools.training"
SHELL = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)


def reached_files(code: Iterable[str]) -> list[Path]:
    """List the files of the subpackages that code cells depend on, and the packaged model.

    The result is the complete package if a cell is not valid Python, or uses the package in a shell command.
    """
    waiting, reached = _names_in_cells(code), set[str]()
    while waiting:
        reached.add(name := waiting.pop())
        for file in _files_of(name):
            if file.suffix == ".py":
                waiting |= _names_in_file(file) - reached
    return sorted({*MINI_FOLDER.iterdir(), *(file for name in reached for file in _files_of(name))})


def _files_of(name: str) -> list[Path]:
    """The files of a subpackage or of a module at the top of the package; all files for "*"."""
    found = [*PACKAGE.glob(f"{name}.py"), *PACKAGE.glob(f"{name}/**/*")]
    return [file for file in found if file.is_file() and file.suffix != ".pyc"]


def _names_in_cells(cells: Iterable[str]) -> set[str]:
    together = ast.Module([], [])
    for cell in cells:
        try:
            together.body += ast.parse(SHELL.sub(r"\1pass", cell)).body
            unread = " ".join(line[0] for line in SHELL.finditer(cell))
        except SyntaxError:
            unread = cell
        if "nbtools" in unread:
            return {"*"}
    return _names(together)


@functools.cache
def _names_in_file(file: Path) -> set[str]:
    return _names(ast.parse(file.read_text(encoding="utf8")))


def _names(tree: ast.AST) -> set[str]:
    """The subpackages that code imports, uses as attributes of `nbtools`, or names in a string; "*" for all of them."""
    nodes = list(ast.walk(tree))
    imports = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    package = {"nbtools", *(alias.asname for alias in imports if alias.name == "nbtools")}
    dotted = [alias.name for alias in imports]
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            dotted += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in package:
            dotted.append(f"nbtools.{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            dotted += NAMED.findall(node.value)
    names = {name.split(".")[1] for name in dotted if name.startswith("nbtools.")}
    return {HOMES.get(name, name) for name in names}
