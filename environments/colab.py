"""Colab, as closely as packages allow: `python -m environments.colab`.

1. With the versions that Google publishes (colab.txt) and for Colab's Python: what a resolver would install, without installing it. Nothing
   that Colab has may move, because its own parts are tested with what it has.
2. On this Python, with those versions and the installed torch: the notebooks' install cell puts the course's wheel in, every notebook runs
   through nbclient, and the live views are used in the classic Notebook, whose widget manager is of Colab's generation.

Colab itself, its GPU builds of torch and its own front end are not here: the record says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat

from environments.classic import try_views
from environments.record import ROOT, Record
from environments.versions import APART, PLACE, UV, direct, installed, installed_torch, make, read_pins, resolve
from tests.browser.jupyterlab import find_browser
from tests.notebooks.test_papermill import NOTEBOOKS, SMALL

COLAB = Path(__file__).with_name("colab.txt")
PYTHON = "3.13"
PLATFORM = ["--python-version", PYTHON, "--python-platform", "linux"]
COURSE = "attention-to-finetuning"
# As in a runtime of Colab; nothing of this repository is on the path.
VARIABLES = APART | {"COLAB_RELEASE_TAG": "release-colab_20260819"}
HERE = PLACE / "colab"
OTHER = {"torch", "setuptools"}  # not Colab's on this Python: the installed torch, and what it asks for


def moved(answer: dict[str, str], has: dict[str, str]) -> dict[str, str]:
    """What an installation would replace: package -> "from -> to". A build such as +cpu is no other version."""
    changed = {name: pin for name, pin in answer.items() if name in has and pin.split("+")[0] != has[name].split("+")[0]}
    return {name: f"{has[name]} -> {pin}" for name, pin in changed.items()}


def check_resolution(record: Record, has: dict[str, str]) -> None:
    """Step 1: the core, all that the notebooks use, and a wish that must be refused, so that a yes means something."""
    constraints = [f"{name}=={pin}" for name, pin in has.items()]
    for what, extras in (("the core", []), ("all that the notebooks use, [course],", ["course"])):
        start = time.monotonic()
        answer = resolve(extras, constraints, *PLATFORM, place=HERE / "resolution")
        if isinstance(answer, str):
            passed, detail = False, answer[:300]
        else:
            kept, changes = [name for name in answer if name in has], moved(answer, has)
            passed = not changes and {"torch", "transformers", "datasets", "ipywidgets", "anywidget", "traitlets"} <= set(kept)
            new = sorted(name for name in answer if name not in has and not name.startswith(("nvidia-", "cuda-", "triton")))
            detail = f"{len(kept)} packages of Colab's stay as they are; new: {', '.join(new)}" if passed else f"moved: {changes}"
        record.note(f"Python {PYTHON}, Colab's versions: {what} installs and moves nothing", passed, detail, time.monotonic() - start)
    refused = resolve([], constraints, *PLATFORM, place=HERE / "resolution", beside=["ipywidgets>=8"])
    said = " ".join(refused.split())[:200] if isinstance(refused, str) else "it was granted"
    record.note("the same question with ipywidgets 8 beside it is answered no", isinstance(refused, str), said)


def build_wheel(folder: Path) -> Path:
    """The course's wheel, as a learner would upload it."""
    subprocess.run([*UV, "build", "--no-config", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


def execute(record: Record, what: str, python: Path, notebook: Path, parameters: dict[str, object]) -> None:
    """Run one notebook there, in its own folder; the executed copy and the log stay in HERE."""
    output = HERE / "executed" / notebook.name
    output.parent.mkdir(exist_ok=True)
    command = [python, ROOT / "environments" / "execute.py", notebook, output, json.dumps(parameters)]
    done = record.run(what, command, environment=VARIABLES)
    output.with_suffix(".log").write_text(done.stdout + done.stderr, encoding="utf8")
    if done.returncode == 0:
        told = json.loads(done.stdout.splitlines()[-1])
        record.checks[-1].detail = f"{told['cells']} code cells, {told['views']} live views"


def install(record: Record, python: Path, content: Path) -> bool:
    """The install cell of a notebook, run in a kernel that has Colab's packages and not the course."""
    wheel = build_wheel(content)
    cells = nbformat.read(NOTEBOOKS[0], as_version=4).cells
    [cell] = [cell for cell in cells if cell.id == "install"]
    source = cell.source.replace("/content/", f"{wheel.parent.as_posix()}/")
    asking = "import nbtools\nassert 'site-packages' in nbtools.__file__, nbtools.__file__\nprint(nbtools.__version__)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in (source, asking)])
    nbformat.write(notebook, content / "install.ipynb")
    before = installed(python)
    execute(record, "the notebooks' install cell puts the course's wheel in", python, content / "install.ipynb", {})
    after = installed(python)
    new = {name for name in after if after[name] != before.get(name)} | (before.keys() - after.keys())
    record.note("the install cell changes nothing but the course", new == {COURSE}, f"new: {', '.join(sorted(new))}")
    return COURSE in after


def main() -> int:
    record = Record("colab", f"Colab's versions, on Python {sys.version_info[0]}.{sys.version_info[1]}", "python -m environments.colab")
    shutil.rmtree(HERE, ignore_errors=True)
    has = read_pins(COLAB)
    check_resolution(record, has)
    start = time.monotonic()
    here = [f"{name}=={pin}" for name, pin in has.items() if name not in OTHER]
    # notebook is what the live views are tried in; Colab has it as well.
    pins = resolve(["course"], [*here, installed_torch()], "--python", sys.executable, place=HERE, beside=["notebook"])
    if isinstance(pins, str):
        print(pins)
        record.note("an environment with Colab's versions", False, pins[:300])
        return record.write()
    changes = moved({name: pin for name, pin in pins.items() if name not in OTHER}, has)
    python = make("colab", pins)
    record.note("an environment with Colab's versions", not changes, f"torch is {pins['torch']}", time.monotonic() - start)
    named = direct() | {"ipython", "notebook", "tokenizers", "traitlets", "jupyter-client"}
    record.versions = {name: pin for name, pin in sorted(installed(python).items()) if name in named}
    content = HERE / "content"
    content.mkdir()
    if install(record, python, content):
        for path in NOTEBOOKS:
            shutil.copy(path, content)
            execute(record, f"{path.stem} through nbclient", python, content / path.name, SMALL[path.stem])
        try_views(record, python, HERE, find_browser(), VARIABLES)
    record.not_run(f"torch {has['torch']}, which Colab has", f"no build of it for the processor is available; {pins['torch']} was used")
    record.not_run("a GPU of Colab's", "there is none here; the choice of number format by capability is tested with reported ones")
    record.not_run("Colab itself", "it needs a browser session with Google")
    return record.write()


if __name__ == "__main__":
    sys.exit(main())
