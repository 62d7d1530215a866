"""What is kept where is what SECURITY.md says, and deleting it loses no result."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf8")
CACHES = set(re.findall(r"^\| `(\w+)/` \|", PAGE, re.MULTILINE))  # the folders in the cache folder

SCORE = """
import json, sys
import nbtools
from nbtools.storage import runs_folder
reviews = nbtools.load_reviews(max_reviews=40)
lm = nbtools.load_model(str(runs_folder() / "tuned" / "mini" / "model") if sys.argv[1:] else "mini", verbose=False)
packed = nbtools.pack(reviews.train, lm, 64)
if not sys.argv[1:]:
    nbtools.finetune(lm, packed, max_steps=2, batch_size=2, dtype="fp32", compile=False, threads=1)
print(json.dumps({"ids": int(packed.input_ids.sum()), "perplexity": nbtools.evaluate(lm, reviews.validation["text"][:2]).perplexity}))
"""


def work(home: Path, *words: str) -> dict[str, Any]:
    """Tune and score, or with a word only score, as somebody whose home folder is `home` and who has set no folder at all."""
    dropped = ("NBTOOLS_", "HF_", "XDG_", "MPL", "IPYTHON", "JUPYTER", "TORCH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    temporary = home / "tmp"
    temporary.mkdir(exist_ok=True)
    apart = {"HOME": str(home), "USERPROFILE": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), "NBTOOLS_PROGRESS": "0"}
    variables = {**kept, **apart, "HF_HUB_OFFLINE": "1", "NBTOOLS_KERNEL": "0", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    place = home / "work"
    place.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", SCORE, *words], cwd=place, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def folders_with_files(place: Path) -> set[str]:
    """The first two names of each file's path below `place`."""
    return {"/".join(file.relative_to(place).parts[:2]) for file in place.rglob("*") if file.is_file()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the place of caches has another name on other systems")
def test_files_appear_in_the_documented_places_only_and_may_be_deleted(tmp_path: Path) -> None:
    first = work(tmp_path)
    cache = tmp_path / ".cache" / "nbtools-course"
    assert "~/.cache/nbtools-course" in PAGE
    assert {"reviews", "tokens"} <= {folder.name for folder in cache.iterdir() if any(folder.iterdir())} <= CACHES
    assert {name for name in folders_with_files(tmp_path) if not name.startswith("work/")} == {".cache/nbtools-course"}, "all of home"
    assert {Path(name).parts[0] for name in folders_with_files(tmp_path / "work")} == {"runs"}
    shutil.rmtree(cache)
    again = work(tmp_path, "again")
    assert again["perplexity"] == pytest.approx(first["perplexity"], rel=1e-6), "the result outlives the caches"
    assert again["ids"] == first["ids"], "and they are made again as they were"


def test_every_cache_in_the_code_is_documented_and_every_documented_one_is_in_the_code() -> None:
    named = {
        name
        for folder in ("nbtools", "tools")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'cache(?:_folder|d)\("(\w+)"', file.read_text("utf8"))
    }
    assert named == CACHES


def test_the_cache_can_be_put_elsewhere_and_doctor_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbtools.health import doctor

    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path / "mine"))
    (found,) = [check.value for check in doctor().checks if check.name == "disk for caches"]
    assert str(tmp_path / "mine") in found


def test_the_other_places_that_are_named_are_where_the_libraries_say_so() -> None:
    from huggingface_hub import constants

    assert "`HF_HOME`" in PAGE and constants.HF_TOKEN_PATH.startswith(os.environ["HF_HOME"])
    assert constants.HF_HUB_CACHE.startswith(os.environ["HF_HOME"])
