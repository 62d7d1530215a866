"""The files of this package that a notebook's code depends on, found by following imports from its cells.

A module is included if the cells or an included module import it (anywhere in their code), name it in a string such as
"-m nbtools.training", or import a name from a package that re-exports it from there.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbtools
from nbtools.profiles import MINI_FOLDER

PACKAGE = Path(nbtools.__file__).parent
HOMES: dict[str, str] = vars(nbtools)["_HOME"]  # the module of each public name of the package
NAMED = re.compile(r"(?:^|-m\s+)(nbtools(?:\.\w+)*)\.?(?=\s|$)")  # a module in a string


def reached_files(code: Iterable[str]) -> list[Path]:
    """List the sources that code cells depend on, the other files in their folders (C++, JavaScript, templates), and the packaged model.

    The result is the complete package if a cell is not valid Python, or uses the package in a shell command.
    """
    waiting, modules = _names_in_cells(code), set[str]()
    while waiting:
        for module in _resolve(waiting.pop()):
            if module not in modules:
                modules.add(module)
                waiting += _names_in_module(module)
    sources = [_file_of(module) for module in modules]
    folders = {folder for source in sources for folder in (source.parent, source.parent / "templates") if folder.is_dir()}
    beside = {file for folder in folders for file in folder.iterdir() if file.is_file() and file.suffix not in (".py", ".pyc")}
    return sorted({*sources, *beside, *(file for file in MINI_FOLDER.iterdir() if file.is_file())})


def _names_in_cells(cells: Iterable[str]) -> list[str]:
    """The names from this package in code cells; "nbtools.*" if they cannot be determined."""
    together = ast.Module([], [])
    for cell in cells:
        shell = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
        try:
            together.body += ast.parse(shell.sub(r"\1pass", cell)).body
            unread = " ".join(line[0] for line in shell.finditer(cell))
        except SyntaxError:
            unread = cell
        if "nbtools" in unread:
            return ["nbtools.*"]
    return list(_names(together, "__main__"))


@functools.cache
def _names_in_module(module: str) -> list[str]:
    return list(_names(ast.parse(_file_of(module).read_text(encoding="utf8")), module))


class _Executed(ast.NodeTransformer):
    """Removes code that only type checkers read."""

    def visit_If(self, node: ast.If) -> Any:
        return node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)


def _names(tree: ast.AST, module: str) -> Iterator[str]:
    """Dotted names below `nbtools` that code imports, reads from the package, or has in a string. A final ".*" means everything in it."""
    tree = _Executed().visit(tree)
    here = module.split(".") if _is_package(module) else module.split(".")[:-1]
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names if alias.name == "nbtools"]
    called = {alias.asname or alias.name for alias in imports} | {"nbtools"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("nbtools."))
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if origin.split(".")[0] == "nbtools":
                yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called:
            yield f"nbtools.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (f"{name}.*" for name in NAMED.findall(node.value) if name != "nbtools")


def _resolve(name: str) -> list[str]:
    """The modules of a dotted name: itself, the one that defines it, or all of a package."""
    if name.endswith(".*"):
        return _modules_below(name.removesuffix(".*")) or _resolve(name.removesuffix(".*"))
    if name == "nbtools":
        return []
    if _exists(name):
        return [name]
    package, _, last = name.rpartition(".")
    if package == "nbtools":
        return _resolve(f"nbtools.{HOMES[last]}.{last}") if last in HOMES else ["nbtools"]
    if not _is_package(package):
        return _resolve(package)
    origin = _reexports(package).get(last)
    return _resolve(origin) if origin else [package]


@functools.cache
def _reexports(package: str) -> dict[str, str]:
    """The names that a package re-exports, with the module that defines each."""
    tree = ast.parse(_file_of(package).read_text(encoding="utf8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nbtools.")]
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}


def _file_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


def _exists(module: str) -> bool:
    return module.split(".")[0] == "nbtools" and _file_of(module).is_file()


def _is_package(module: str) -> bool:
    return _exists(module) and _file_of(module).name == "__init__.py"


def _modules_below(package: str) -> list[str]:
    """A package and all modules in it; an empty list if it is not a package."""
    if not _is_package(package):
        return []
    folder = _file_of(package).parent
    paths = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in folder.rglob("*.py")]
    return [".".join(name for name in names if name != "__init__") for names in paths]
