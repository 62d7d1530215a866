"""Find and read notebooks, as plain JSON without any Jupyter package."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbtools.errors import InputError
from nbtools.notebooks.content import read_content
from nbtools.values import near_miss

NUMBERED = "[0-9][0-9]_*.ipynb"  # the course's notebooks; other files in the folder belong to the learner
# A wheel contains copies, because Colab opens one notebook without a clone: 04 reads its own parameters, 09 runs 04.
PACKAGED = Path(__file__).parent.parent / "assets" / "notebooks"
CLONE = Path(__file__).parents[2] / "notebooks"  # next to the package, if that is installed from a clone


@dataclass(frozen=True)
class Notebook:
    """The contents of a notebook.

    name   the file's name without its extension, such as "04_finetuning"
    path   absolute
    cells  the cells as nbformat 4 stores them, with each source joined to one string
    """

    name: str
    path: Path
    cells: tuple[dict[str, Any], ...]

    @property
    def code(self) -> list[str]:
        """The sources of the code cells, in order."""
        return [cell["source"] for cell in self.cells if cell["cell_type"] == "code"]

    @property
    def title(self) -> str:
        """The first heading, or the name if there is none."""
        for cell in self.cells:
            if cell["cell_type"] == "markdown" and (found := re.search(r"^#+\s+(.+)$", cell["source"], re.MULTILINE)):
                return found[1].strip()
        return self.name

    @property
    def parameter_source(self) -> str:
        """The source of the first cell tagged `parameters`, or an empty string."""
        return next((source for source, tagged in zip(self.code, self.tagged("parameters"), strict=True) if tagged), "")

    def tagged(self, tag: str) -> list[bool]:
        """For each code cell, in order, whether it has the tag."""
        return [tag in cell["metadata"].get("tags", []) for cell in self.cells if cell["cell_type"] == "code"]


def read_notebook(path: str | Path) -> Notebook:
    """Read a notebook. Raises InputError if the file does not exist or is not a notebook of format 4."""
    path = Path(path)
    cells = tuple({**cell, "source": "".join(cell["source"])} for cell in read_content(path)["cells"])
    return Notebook(path.stem, path.resolve(), cells)


def find_notebooks() -> list[Path]:
    """List the course's notebooks in order.

    They are in the nearest folder `notebooks/` in the current folder or above it, in the folder that `NBTOOLS_NOTEBOOKS` names (that of
    the notebook being run), in the installed package, or next to it in the clone; the first of these that has notebooks is used. Raises
    InputError if there are none.
    """
    here = Path.cwd().resolve()
    named = os.environ.get("NBTOOLS_NOTEBOOKS")
    for folder in [*(above / "notebooks" for above in (here, *here.parents)), *([Path(named)] if named else []), PACKAGED, CLONE]:
        if found := sorted(folder.glob(NUMBERED)):
            return found
    raise InputError(
        f"There is no folder notebooks/ with the course in {here} or above it.", "Go to the clone's folder, or give a notebook's path."
    )


def choose_notebooks(names: Iterable[str] = ()) -> list[Notebook]:
    """Read the notebooks given by `names`, each once and in that order; without names, all of the course's.

    names  paths ("mine/04_finetuning.ipynb"), numbers ("4", "04"), or file names with or without the number ("finetuning")

    Raises InputError for an unknown name (with the nearest one) and for two notebooks with the same name.
    """
    names = [names] if isinstance(names, str) else list(names)
    paths = [_resolve(name) for name in names] if names else find_notebooks()
    chosen: dict[str, Notebook] = {}
    for path in paths:
        notebook = read_notebook(path)
        if notebook.name in chosen and chosen[notebook.name].path != notebook.path:
            raise InputError(f"Two notebooks are called {notebook.name}, and one run cannot hold both.", "Run them one after the other.")
        chosen.setdefault(notebook.name, notebook)
    return list(chosen.values())


def _resolve(name: str) -> Path:
    if name.endswith(".ipynb"):
        return Path(name)
    available = {path.stem: path for path in find_notebooks()}
    for stem, path in available.items():
        number, _, short = stem.partition("_")
        if name in (stem, short, number, str(int(number))):
            return path
    guess = near_miss(name, available)
    raise InputError(f"There is no notebook called {name!r}.", f"{guess}The notebooks are: {', '.join(available)}.")
