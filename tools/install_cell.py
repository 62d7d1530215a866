"""Write the notebooks' cell that installs the course in Colab: the same in each notebook, directly below the title.

    python tools/install_cell.py [--check]

The cell installs exactly this version: from the repository's address (`repository` under [tool.course] in pyproject.toml) at the tag of
the version or, as long as there is no address, from the wheel that a learner has put into Colab's files. Colab's own torch, transformers
and Jupyter are kept: the core needs nothing newer, and constraints.txt is not for Colab.

With --check nothing is written; the exit code says whether the notebooks hold the cell.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import nbtools
from nbtools.notebooks.costs import COSTS_FILE
from nbtools.storage import write_text

ROOT = Path(__file__).parents[1]
ID = "install"

BEGIN = """\
# In Colab this installs the course where it is missing; elsewhere it does nothing.
import importlib.util, os
if "COLAB_RELEASE_TAG" in os.environ and importlib.util.find_spec("nbtools") is None:
"""
FROM_ADDRESS = """\
    get_ipython().run_line_magic("pip", 'install -q "attention-to-finetuning[course] @ git+{address}@v{version}"')"""
FROM_WHEEL = """\
    wheel = "/content/attention_to_finetuning-{version}-py3-none-any.whl"
    if os.path.exists(wheel):
        get_ipython().run_line_magic("pip", f'install -q "{{wheel}}[course]"')
    else:
        print("The course is not installed here. Put its wheel among Colab's files (the folder on the left) and run this cell again.")
        print("In a clone, `pip wheel --no-deps .` makes the wheel.")"""


def source(address: str, version: str) -> str:
    """The cell's code for a repository's address; without one, `address` is empty."""
    return BEGIN + (FROM_ADDRESS.format(address=address.rstrip("/"), version=version) if address else FROM_WHEEL.format(version=version))


def with_cell(content: dict[str, Any], code: str) -> dict[str, Any]:
    """The notebook with the cell below its title. A new cell has execution count 1, as after Run All, and no output."""
    content = json.loads(json.dumps(content))
    cells, lines = content["cells"], code.splitlines(keepends=True)
    for cell in cells:
        if cell.get("id") == ID:
            cell["source"] = lines
            return content
    for cell in cells:
        for counted in (cell, *cell.get("outputs", ())):
            if counted.get("execution_count"):
                counted["execution_count"] += 1
    cells.insert(1, {"cell_type": "code", "execution_count": 1, "id": ID, "metadata": {}, "outputs": [], "source": lines})
    return content


def main(check: bool) -> int:
    course = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["course"]
    code = source(course["repository"], nbtools.__version__)
    costs, stale = json.loads(COSTS_FILE.read_text(encoding="utf8")), []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        before = path.read_text(encoding="utf8")
        content = with_cell(json.loads(before), code)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        if text == before:
            continue
        stale.append(path.name)
        recorded = costs["notebooks"].get(path.stem, {}).get("cell_seconds", [])
        if len(recorded) == sum(cell["cell_type"] == "code" for cell in content["cells"]) - 1:
            recorded.insert(0, 0.0)  # outside Colab it takes no time
        if not check:
            write_text(path, text)
    if stale and not check:
        write_text(COSTS_FILE, json.dumps(costs, indent=1) + "\n")
    print(f"{'out of date' if check else 'written'}: {', '.join(stale)}" if stale else "every notebook has the cell as it should be")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
