"""A small notebook with the parameters of 04_finetuning, which notebook 09 sweeps in tests."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

# A table of which byte follows which, learned by gradient descent from the paragraphs of the glossary.
TRAINING = """
import json, os
from pathlib import Path
import numpy as np

paragraphs = Path({glossary!r}).read_text(encoding="utf8").split("\\n\\n")
held_out = paragraphs[::4]
order = np.random.default_rng(seed).permutation([text for number, text in enumerate(paragraphs) if number % 4])

def pairs(texts):
    counts = np.zeros((256, 256))
    for text in texts:
        codes = np.frombuffer(text.encode(), np.uint8)
        np.add.at(counts, (codes[:-1], codes[1:]), 1)
    return counts / counts.sum()

def score(logits):
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    bits = float(-(pairs(held_out) * log_probs).sum() / np.log(2))
    return {{"bits_per_byte": bits, "perplexity": 2 ** bits}}
"""
STEPS = """
learned, logits = pairs(order[:train_reviews]), np.zeros((256, 256))
before = score(logits)
for _ in range(max_steps):
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    logits -= 1e4 * learning_rate * (learned.sum(1, keepdims=True) * probs - learned)
after = score(logits)
"""
METRICS = """
metrics = {"before": {"validation": before}, "after": {"validation": after}, "seconds": 0.1}
(Path(os.environ["NBTOOLS_RUNS"]) / "metrics.json").write_text(json.dumps(metrics))
"""


def write_tiny_finetuning(folder: Path) -> Path:
    """Write the notebook into `folder` and return its path."""
    course = nbformat.read(NOTEBOOKS / "04_finetuning.ipynb", as_version=4)
    [parameters] = [cell for cell in course.cells if "parameters" in cell.metadata.get("tags", [])]
    sources = [TRAINING.format(glossary=str(NOTEBOOKS / "glossary.md")), STEPS, METRICS]
    cells = [new_code_cell(parameters.source, id="parameters", metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_finetuning.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": course.metadata.kernelspec}), path)
    return path
