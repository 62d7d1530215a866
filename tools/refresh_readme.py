"""Update README.md (pictures from stored outputs, links that need the repository's address) and docs/environments.md.

    python tools/refresh_readme.py [--check]

The address is `repository` under [tool.course] in pyproject.toml. As long as it is empty, no badge is shown. With --check nothing is
written; the exit code says whether README.md and its pictures are up to date.
"""

from __future__ import annotations

import base64
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from environments.record import read_records  # noqa: E402  (in the clone, not installed)
from nbtools.notebooks import read_recorded  # noqa: E402
from nbtools.notebooks.addresses import open_links  # noqa: E402
from nbtools.storage import write_text  # noqa: E402

PICTURES = {
    "learning_curve.png": ("04_finetuning", "curve"),
    "before_after.png": ("04_finetuning", "after"),
    "likelier.png": ("05_sampling", "likelier"),
}
PAGE = "docs/environments.md"
NAMED = ("torch", "transformers", "datasets", "ipywidgets", "anywidget")  # packages whose versions are in the table
SCORE = re.compile(
    r"^test +perplexity [\d.,]+, (?P<bits>[\d.]+) bits per byte[^;\n]*(?:; change (?P<change>[^(\n]+\(95 % interval [^)]+\)))?",
    re.MULTILINE,
)
BEGIN, END = "<!-- {}: written by tools/refresh_readme.py -->", "<!-- end of {} -->"


def picture(notebook: str, cell_id: str) -> bytes:
    """The PNG in the stored output of the cell `cell_id`."""
    nb = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    for cell in nb.cells:
        for output in cell.get("outputs", []) if cell.id == cell_id else []:
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    raise SystemExit(f"{notebook} has no stored picture in its cell {cell_id}.\n  -> Run: make refresh")


def printed(notebook: str, cell_id: str) -> str:
    """The stored text of a cell."""
    nb = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    [cell] = [cell for cell in nb.cells if cell.id == cell_id]
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def before_and_after() -> str:
    """What notebook 04 measured with mini, and what was recorded with a larger model: bits per byte of test reviews."""
    found = read_recorded()["04_finetuning"]["outputs"]
    models = {
        "`mini`, 8 million parameters": [printed("04_finetuning", name) for name in ("before", "after")],
        "`smollm2`, 135 million parameters": [found[name] for name in ("before", "after")],
    }
    lines = ["| model, in notebook 04 | test reviews before, bits per byte | after | change, 95 % interval |", "|---|---|---|---|"]
    for model, texts in models.items():
        was, now = (SCORE.search(text) for text in texts)
        assert was and now and now["change"], f"no score was found in the outputs of {model}"
        change = now["change"].replace("(95 % interval ", "(").replace("-", "−")
        lines.append(f"| {model} | {was['bits']} | {now['bits']} | {change} |")
    return "\n".join(lines)


def links(course: dict[str, str]) -> str:
    """Badges for Colab and Binder, or a sentence saying why there are none."""
    address, branch = course["repository"].rstrip("/"), course["branch"]
    picture = "[![The course's front page: a prompt lab whose model runs in the browser](docs/pictures/site.png)]"
    if not address:
        none = "*Links that open the notebooks in Colab and Binder appear here once the repository has a public address.*"
        return f"{picture}(#the-course-in-a-browser)\n\n{none}"
    colab, binder = open_links(address, branch, "00_setup").values()
    owner, repository = address.removeprefix("https://github.com/").split("/")
    place = quote(f"lab/tree/{repository}/notebooks", safe="")
    hub = f"/hub/user-redirect/git-pull?repo={quote(address, safe='')}&branch={branch}&urlpath={place}"
    pages = f"https://{owner.lower()}.github.io/{repository}/"
    return (
        f"{picture}({pages})\n\n[The course in the browser]({pages}): read it, and try the model, with nothing installed\n\n"
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})\n\n"
        f"On a JupyterHub with nbgitpuller, this after the hub's address opens a copy: `{hub}`"
    )


def environments(records: list[dict[str, Any]]) -> str:
    """A table with one row per environment, from the records of `environments/`: passed, failed and skipped checks."""
    lines = ["| environment and command | checks | not run | versions | date |", "|---|---|---|---|---|"]
    for record in records:
        outcomes = by_outcome(record)
        failed = [f"**failed: {check['what']}**" for check in outcomes["failed"]]
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if name in NAMED)
        cells = [
            f"[{record['environment']}](#{record['name']}): `{record['command']}`",
            "; ".join([f"{len(outcomes['passed'])} passed", *failed]),
            "; ".join(check["what"] for check in outcomes["not run"]) or "–",
            versions,
            record["date"],
        ]
        lines.append(row(cells))
    return "\n".join(lines)


def environments_page(records: list[dict[str, Any]]) -> str:
    """The page with every check of every environment: its outcome, a result, and the time it took."""
    lines = [
        "# What was run where",
        "",
        "The command above each table stores its results in `environments/results/`.",
        "`tools/refresh_readme.py` writes this page from them.",
        "",
        environments(records),
    ]
    for record in records:
        lines += ["", f'<a id="{record["name"]}"></a>', "", f"## {record['environment'][0].upper()}{record['environment'][1:]}", ""]
        lines += [f"`{record['command']}`, {record['date']}, Python {record['python']}", ""]
        lines += ["| check | outcome | details | seconds |", "|---|---|---|---|"]
        for check in record["checks"]:
            seconds = f"{check['seconds']:.0f}" if check["outcome"] != "not run" else ""
            outcome = f"**{check['outcome']}**" if check["outcome"] == "failed" else check["outcome"]
            lines.append(row([check["what"], outcome, check["detail"], seconds]))
        if record["versions"]:
            versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
            lines += ["", f"Versions: {versions}."]
    return "\n".join(lines) + "\n"


def by_outcome(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {outcome: [check for check in record["checks"] if check["outcome"] == outcome] for outcome in ("passed", "failed", "not run")}


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def replace(text: str, section: str, content: str) -> str:
    """Replace the text between the markers of `section` by `content`."""
    begin, end = BEGIN.format(section), END.format(section)
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def main(check: bool) -> int:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf8")
    course = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["course"]
    wanted = replace(replace(text, "links", links(course)), "before and after", before_and_after())
    stale = []
    for path, new in ((readme, wanted), (ROOT / PAGE, environments_page(read_records()))):
        if not path.is_file() or path.read_text(encoding="utf8") != new:
            stale.append(path.name)
            if not check:
                write_text(path, new)
    for name, (notebook, cell_id) in PICTURES.items():
        target, data = ROOT / "docs" / "pictures" / name, picture(notebook, cell_id)
        if not target.is_file() or target.read_bytes() != data:
            stale.append(f"docs/pictures/{name}")
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    print(f"{'out of date' if check else 'written'}: {', '.join(stale)}" if stale else "README.md and its pictures are up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
