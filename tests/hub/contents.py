"""What the tests put on the stand-in Hub: a tiny GPT-2 with random weights, and a few real reviews in the layout of IMDB there."""

from __future__ import annotations

import io
import json
from pathlib import Path

README = """---
configs:
- config_name: plain_text
  data_files:
  - split: train
    path: plain_text/train-*
  - split: test
    path: plain_text/test-*
  - split: unsupervised
    path: plain_text/unsupervised-*
  default: true
---
"""


def model_files(folder: Path) -> dict[str, bytes]:
    """The files that save_pretrained writes for a random GPT-2 of two layers with mini's tokenizer."""
    from tests.small_models import tiny

    lm = tiny()
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def with_weights_as_pickle(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same model as `pytorch_model.bin`, the old format that can run code when it is opened."""
    import torch
    from safetensors.torch import load

    buffer = io.BytesIO()
    torch.save(load(files["model.safetensors"]), buffer)
    return {name: content for name, content in files.items() if name != "model.safetensors"} | {"pytorch_model.bin": buffer.getvalue()}


def with_code_of_its_own(files: dict[str, bytes], mark: Path, model_type: str) -> dict[str, bytes]:
    """The same model with a config that names Python files of the repository; running them would create the file `mark`."""
    config = json.loads(files["config.json"])
    config |= {"model_type": model_type, "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    return files | {"config.json": json.dumps(config).encode(), "own.py": code.encode()}


def review_files(reviews: dict[str, list[tuple[str, int]]]) -> dict[str, bytes]:
    """Parquet files as `stanfordnlp/imdb` has them, from (text, label) rows for train, test and unsupervised."""
    import pyarrow
    from pyarrow import parquet

    files = {"README.md": README.encode()}
    for split, rows in reviews.items():
        table = pyarrow.table({"text": [text for text, _ in rows], "label": pyarrow.array([label for _, label in rows], pyarrow.int64())})
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(table, sink)
        files[f"plain_text/{split}-00000-of-00001.parquet"] = sink.getvalue().to_pybytes()
    return files
