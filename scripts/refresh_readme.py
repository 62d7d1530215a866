"""Bring README.md up to date: pictures from stored outputs, links that need the repository's address, the table of environments.

    python scripts/refresh_readme.py [--check]

The address stands in one place, `repository` under [tool.course] in pyproject.toml. As long as it is empty, no badge is shown.
With --check nothing is written; the exit code says whether README.md and its pictures are what the sources give.
"""

from __future__ import annotations

import base64
import sys
import tomllib
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from environments.record import read_records  # noqa: E402  (beside this folder, and not installed)
from nbtools.runtime import write_text  # noqa: E402

PICTURES = {
    "learning_curve.png": ("04_finetuning", "curve"),
    "before_after.png": ("04_finetuning", "after"),
    "likelier.png": ("05_sampling", "likelier"),
}
NAMED = ("torch", "transformers", "datasets", "ipywidgets", "anywidget")  # whose versions the table gives
BEGIN, END = "<!-- {}: written by scripts/refresh_readme.py -->", "<!-- end of {} -->"


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


def environments(records: list[dict[str, Any]]) -> str:
    """A table of what was really done in which environment, from the records of `environments/`."""
    lines = ["| environment | done there | not done | versions | date, command |", "|---|---|---|---|---|"]
    for record in records:
        told = {
            outcome: [f"{check['what']}{_aside(check)}" for check in record["checks"] if check["outcome"] == outcome]
            for outcome in ("passed", "failed", "not run")
        }
        done = "; ".join([*told["passed"], *(f"**failed: {what}**" for what in told["failed"])])
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if name in NAMED)
        when = f"{record['date']}, `{record['command']}`"
        cells = [record["environment"], done, "; ".join(told["not run"]) or "–", versions, when]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _aside(check: dict[str, Any]) -> str:
    return f" ({check['detail']})" if check["detail"] else ""


def replace(text: str, section: str, content: str) -> str:
    """`text` with what stands between the marks of `section` exchanged for `content`."""
    begin, end = BEGIN.format(section), END.format(section)
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def main(check: bool) -> int:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf8")
    course = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["course"]
    wanted = replace(text, "links", links(course))
    wanted = replace(wanted, "environments", environments(read_records()))
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
