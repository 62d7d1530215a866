"""Small notebooks that stand in for a fine-tuning: they leave a metrics.json within a second, without torch."""

from pathlib import Path

from tests.notebooks_room.notebooks_at_hand import write_notebook

PARAMETERS = """
rate: float = 0.1  # a number
size: int = 2  # a whole number
word: str = "plain"  # a text
seed: int = 0
"""
COUNTED = """
import json, os
from pathlib import Path
runs = Path(os.environ["NBTOOLS_RUNS"])
with open(os.environ.get("COUNT_FILE", os.devnull), "a") as file:
    file.write(runs.name.removesuffix(".part") + "\\n")
"""
WRITE = """
value = abs(rate - 0.3) + size / 100 + seed / 1000
score = {"bits_per_byte": value, "perplexity": 2 ** value}
(runs / "metrics.json").write_text(json.dumps({"after": {"validation": score}, "seconds": 0.1}))
"""


def write_tiny(folder: Path, *between: str, name: str = "01_tiny", write: str = WRITE) -> Path:
    """A notebook with the PARAMETERS above that counts itself, runs the cells `between`, and writes its metrics."""
    return write_notebook(folder, name, COUNTED, *between, write, parameters=PARAMETERS)
