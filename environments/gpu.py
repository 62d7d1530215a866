"""A GPU, where this machine has one: `python -m environments.gpu`.

1. What it is, and the number format that its capability asks for.
2. The same figures as on the processor: a model's loss on held-out reviews, its greedy text, and its loss after a fine-tuning in each
   number format.
3. Every notebook, with the small parameters of the tests.

The suite itself runs on the processor wherever it is (tests/conftest.py): its own tensors lie there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from environments.record import ROOT, Record
from environments.versions import PLACE, direct
from nbtools.errors import MachineError
from nbtools.system import choose_dtype, device
from nbtools.training.metrics import machine
from tests.notebooks.test_papermill import NOTEBOOKS, SMALL

HERE = PLACE / "gpu"
# What is installed here is used, this clone first: on such a machine the course need not be installed.
VARIABLES = {"HF_HUB_OFFLINE": "1", "NBTOOLS_PROGRESS": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
STEPS = 40
SAME_LOSS = 1e-4  # relative: fp32 sums in another order
SAME_TUNED = 0.02  # relative: a fine-tuning in another format goes another way to the same place


def figures() -> dict[str, Any]:
    """What is compared, computed where NBTOOLS_DEVICE says: losses in bits per byte, the greedy text, the machine."""
    import nbtools

    reviews = nbtools.load_reviews("package", 200)
    held_out = reviews.validation["text"][:20]
    lm = nbtools.load_model("mini", verbose=False)
    told: dict[str, Any] = {"machine": machine(), "tuned": {}}
    told["loss"] = nbtools.evaluate(lm, held_out).bits_per_byte
    told["text"] = nbtools.generate(lm, "The movie was", max_new_tokens=20, do_sample=False)
    for dtype in ("fp32", "bf16") + ("fp16",) * (device().type == "cuda"):
        lm = nbtools.load_model("mini", verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            tuned = nbtools.finetune(
                lm, nbtools.pack(reviews.train, lm, 128), output_dir=Path(folder, "run"), max_steps=STEPS, batch_size=8, dtype=dtype
            )
        told["tuned"][dtype] = nbtools.evaluate(tuned.lm, held_out).bits_per_byte
    return told


def compare(record: Record) -> None:
    """The figures of both devices, each from a process of its own."""
    found = {}
    for where in ("cpu", "cuda"):
        done = record.run(
            f"a model is scored, sampled and fine-tuned on {where}",
            [sys.executable, "-m", "environments.gpu", "--figures"],
            environment=VARIABLES | {"NBTOOLS_DEVICE": where},
        )
        if done.returncode:
            return
        found[where] = json.loads(done.stdout.splitlines()[-1])
    cpu, gpu = found["cpu"], found["cuda"]

    def near(what: str, one: float, other: float, within: float) -> None:
        record.note(what, abs(one - other) <= within * abs(other), f"{one:.5f} and {other:.5f} bits per byte")

    near("the loss on held-out reviews is that of the processor", gpu["loss"], cpu["loss"], SAME_LOSS)
    record.note("the greedy text is that of the processor", gpu["text"] == cpu["text"])
    for dtype, loss in gpu["tuned"].items():
        near(f"after {STEPS} steps in {dtype} the loss is that of the processor in fp32", loss, cpu["tuned"]["fp32"], SAME_TUNED)
    record.note("what metrics.json says of the machine names the GPU", gpu["machine"]["device"] == "cuda", gpu["machine"]["name"])


def main() -> int:
    import torch

    if not torch.cuda.is_available():
        raise MachineError("This machine has no GPU that PyTorch can use.", "Run this where nvidia-smi shows one.")
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    record = Record("gpu", f"A GPU: {name}", "python -m environments.gpu")
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    record.versions = {one.name: one.version for one in importlib.metadata.distributions() if one.name in direct()}
    chosen = choose_dtype()
    expected = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"  # PyTorch's own answer
    record.note("the number format follows the capability", chosen.name == expected, f"{capability[0]}.{capability[1]}: {chosen.name}")
    compare(record)
    for path in NOTEBOOKS:
        command = [sys.executable, ROOT / "environments" / "execute.py", path, HERE / path.name, json.dumps(SMALL[path.stem])]
        done = record.run(f"{path.stem} through nbclient", command, environment=VARIABLES | {"NBTOOLS_RUNS": str(HERE / "runs")})
        (HERE / f"{path.stem}.log").write_text(done.stdout + done.stderr, encoding="utf8")
    return record.write()


if __name__ == "__main__":
    if sys.argv[1:] == ["--figures"]:
        print(json.dumps(figures()))
        sys.exit()
    try:
        sys.exit(main())
    except MachineError as error:
        sys.exit(str(error))
