"""Bring README.md up to date: pictures from the notebooks' stored outputs, and the links that need the repository's address.

    python scripts/refresh_readme.py [--check]

The address stands in one place, `repository` under [tool.course] in pyproject.toml. As long as it is empty, no badge is shown.
With --check nothing is written; the exit code says whether README.md and its pictures are what the sources give.
"""

from __future__ import annotations

import base64
import sys
import tomllib
from pathlib import Path

import nbformat

from nbtools.runtime import write_text

ROOT = Path(__file__).parents[1]
PICTURES = {
    "learning_curve.png": ("04_finetuning", "curve"),
    "before_after.png": ("04_finetuning", "after"),
    "likelier.png": ("05_sampling", "likelier"),
}
BEGIN, END = "<!-- links: written by scripts/refresh_readme.py -->", "<!-- end of links -->"


def picture(notebook: str, cell_id: str) -> bytes:
    """The PNG that the cell `cell_id` of a notebook has stored."""
    nb = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    for cell in nb.cells:
        for output in cell.get("outputs", []) if cell.id == cell_id else []:
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    raise SystemExit(f"{notebook} has no stored picture in its cell {cell_id}.\n  -> Run: make refresh")


def links(course: dict[str, str]) -> str:
    """Badges for Colab and Binder, or a sentence that says why there are none."""
    address, branch = course["repository"].rstrip("/"), course["branch"]
    if not address:
        return "*Links that open the notebooks in Colab and Binder appear here once the repository has a public address.*"
    name = address.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{name}/blob/{branch}/notebooks/00_setup.ipynb"
    binder = f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/notebooks/00_setup.ipynb"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def main(check: bool) -> int:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    course = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["course"]
    wanted = f"{head}{BEGIN}\n{links(course)}\n{END}{tail}"
    stale = [] if wanted == text else ["README.md"]
    for name, (notebook, cell_id) in PICTURES.items():
        target, data = ROOT / "docs" / "pictures" / name, picture(notebook, cell_id)
        if not target.is_file() or target.read_bytes() != data:
            stale.append(f"docs/pictures/{name}")
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    if not check and wanted != text:
        write_text(readme, wanted)
    print(f"{'out of date' if check else 'written'}: {', '.join(stale)}" if stale else "README.md and its pictures are up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
