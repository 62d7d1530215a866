"""What repo2docker makes of binder/, asked of repo2docker itself, without Docker (https://repo2docker.readthedocs.io)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from environments.record import ROOT, Record

WHAT = "repo2docker picks its conda build pack, Python 3.11, binder/environment.yml and binder/postBuild"
# Picks as repo2docker's own command does: the first of its build packs that recognises the folder. Runs where repo2docker is installed.
PROBE = """
import importlib.metadata, json
from repo2docker.app import Repo2Docker

app = Repo2Docker()
picked = next(pack for pack in (kind(base_image=app.base_image) for kind in app.buildpacks) if pack.detect())
picked.platform = "linux/amd64"  # mybinder.org's
print(json.dumps({
    "version": importlib.metadata.version("jupyter-repo2docker"),
    "pack": type(picked).__name__,
    "python": picked.python_version,
    "environment_file": getattr(picked, "environment_yaml_path", None),
    "dependencies": picked.environment_yaml["dependencies"],
    "post_build": picked.get_post_build_scripts(),
    "start": picked.get_start_script(),
    "dockerfile": picked.render({}),
}))
"""


def examine(record: Record, folder: Path) -> None:
    """Install repo2docker (a few MB) in a virtual environment of its own and ask it."""
    start, python = time.monotonic(), folder / "repo2docker" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "jupyter-repo2docker"]
    for command in ([sys.executable, "-m", "venv", folder / "repo2docker"], pip):
        done = subprocess.run([str(word) for word in command], capture_output=True, encoding="utf8", errors="replace", check=False)
        if done.returncode:
            record.not_run(WHAT, f"jupyter-repo2docker did not install: {done.stderr.strip().splitlines()[-1]}")
            return
    try:
        found = ask(python)
    except subprocess.CalledProcessError as error:
        record.note(WHAT, False, error.stderr.strip().splitlines()[-1], time.monotonic() - start)
        return
    wrong = faults(found)
    record.note(WHAT, not wrong, "; ".join(wrong) or f"repo2docker {found['version']}; the Dockerfile says so", time.monotonic() - start)


def ask(python: str | Path, folder: Path = ROOT) -> dict[str, Any]:
    """What the repo2docker of that Python picks for the files in `folder`, and the Dockerfile that it writes."""
    done = subprocess.run([python, "-c", PROBE], cwd=folder, capture_output=True, encoding="utf8", errors="replace", check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as the course needs it."""
    pip = [line for entry in found["dependencies"] if isinstance(entry, dict) for line in entry.get("pip", [])]
    # The server must be in the environment that the course is installed into: postBuild puts the server's settings there too.
    lines = {
        "the environment's file is not installed": '${MAMBA_EXE} env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"',
        "postBuild is not run": "RUN ./binder/postBuild",
        "the kernel has another environment than the server": "ENV KERNEL_PYTHON_PREFIX=${NB_PYTHON_PREFIX}",
        "its Python is not first on the path": "ENV PATH=${NB_PYTHON_PREFIX}/bin:",
        "the server is not the command": 'CMD ["jupyter", ',
    }
    expected = {
        "pack": "CondaBuildPack",
        "python": "3.11",
        "environment_file": "binder/environment.yml",
        "post_build": ["binder/postBuild"],
        "start": None,
    }
    wrong = [f"{name} is {found[name]!r}, not {value!r}" for name, value in expected.items() if found[name] != value]
    wrong += [what for what, line in lines.items() if line not in found["dockerfile"]]
    if "pip" not in found["dependencies"] or not any(line.startswith("transformers") for line in pip):
        wrong.append("pip's packages are not in the environment's file")
    return wrong
