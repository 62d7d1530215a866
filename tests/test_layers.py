"""Who may import whom: the rooms of the package in order, each of which may import only from rooms before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbtools

PACKAGE = Path(nbtools.__file__).parent

# Rooms that are not built yet have their place already.
ORDER = """
    errors texts values templates system storage profiles tokens models accel health data attention evaluation generation training compare
    pitfalls tasks exercises notebooks runs plots widgets report site bundle cli
""".split()
NOT_ROOMS = {"__init__", "__main__", "assets", "__pycache__"}


def room_of(file: Path) -> str:
    """The room that a module belongs to: the file's or the folder's name at the top of the package."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(file for file in PACKAGE.rglob("*.py") if room_of(file) not in NOT_ROOMS)


def imported_rooms(source: str, module: str) -> Iterator[tuple[str, int]]:
    """The rooms that the code of `module` (dotted name) imports from, with line numbers.

    Imports inside functions and those for type checkers count like any other, relative ones too, and so does a name taken
    from `nbtools` itself, which hands it on from its room.
    """
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, node.module] if node.module else base)
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nbtools":
            names = [f"nbtools.{node.attr}"]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "import_module", "__import__"}:
            names = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "nbtools" and len(parts) > 1 and not parts[1].startswith("__"):
                yield nbtools._HOME.get(parts[1], parts[1]), node.lineno


def violations(source: str, module: str) -> list[str]:
    here = module.split(".")[1]
    found = []
    for room, line in imported_rooms(source, module):
        if room not in ORDER:
            found.append(f"{module}:{line} imports {room}, which is no room")
        elif ORDER.index(room) > ORDER.index(here):
            found.append(f"{module}:{line} imports {room}, which comes after {here}")
    return found


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_from_earlier_rooms(file: Path) -> None:
    module = "nbtools." + ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    assert violations(file.read_text(encoding="utf8"), module) == []


def test_every_module_belongs_to_a_room() -> None:
    assert {room_of(file) for file in modules()} <= set(ORDER)
    assert len(ORDER) == len(set(ORDER))


BESIDE = {"tools", "tests", "benchmarks", "environments"}  # folders of a clone that are not installed


def test_the_package_imports_nothing_that_is_not_installed_with_it() -> None:
    """`nbtools bundle` loads `tools` by name, and says what to do if there is no clone."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not BESIDE & {name.partition(".")[0] for name in names}, f"{file}:{node.lineno}"  # type: ignore[attr-defined]


def test_what_the_package_hands_on_exists_in_the_room_named() -> None:
    assert set(nbtools._HOME.values()) <= set(ORDER)
    for name in nbtools.__all__:
        assert getattr(nbtools, name) is not None
    assert nbtools.load_model.__module__.startswith("nbtools.models")


@pytest.mark.parametrize(
    "source",
    [
        "import nbtools.cli",
        "from nbtools.plots import Picture",
        "from nbtools import plots",
        "from nbtools import finetune",
        "from .. import widgets",
        "from ..training.finetune import run",
        "def later():\n    from nbtools.exercises import check",
        "if TYPE_CHECKING:\n    from nbtools.training import Result",
        "import nbtools\nnbtools.PromptLab",
        "importlib.import_module('nbtools.report')",
        "from nbtools.no_such_room import thing",
    ],
)
def test_a_forbidden_import_is_seen(source: str) -> None:
    assert len(violations(source, "nbtools.models.loading")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from nbtools.errors import CourseError",
        "from nbtools.models.smollm2 import fetch",
        "from .smollm2 import fetch",
        "from ..system import device",
        "import nbtools\nprint(nbtools.__version__)",
        "from nbtools import __version__",
        "import torch.nn",
    ],
)
def test_an_allowed_import_is_let_through(source: str) -> None:
    assert violations(source, "nbtools.models.loading") == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import nbtools` alone must stay cheap: a command such as `nbtools --help` waits for it."""
    import subprocess
    import sys

    heavy = "{'torch', 'transformers', 'datasets', 'matplotlib', 'papermill'}"
    code = f"import sys, nbtools, nbtools.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]"
