"""Binder, as far as packages allow: `python -m environments.binder`.

What repo2docker, the program that Binder builds with, makes of binder/; that environment, installed from the package index; and the whole
course in kernels of a real Jupyter server that has Binder's settings, a hard memory limit on the server and its kernels together, and one
processor. The image itself is not built: that needs Docker, a registry and conda-forge.

    python -m environments.binder                                    everything: half an hour or so
    python -m environments.binder --folder DIR --notebooks 04 05     these alone; the rest of the record stays
    python -m environments.binder --folder DIR --checks              all but the notebooks' full runs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments.buildpack import examine
from environments.cgroup import MemoryGroup, make_group
from environments.record import RESULTS, ROOT, Check, Record
from environments.server import JupyterServer, Outcome, jupyter_server
from nbtools.errors import MachineError
from nbtools.notebooks import choose_notebooks
from nbtools.notebooks.catalog import Notebook
from nbtools.storage import Kind, destination, write_text

# mybinder.org gives 2 GiB (docs: "between 1 and 2 GB"); this is the stricter reading of "2 GB".
LIMIT = 2_000_000_000
NAMED = ("torch", "transformers", "datasets", "jupyterlab", "jupyter-server", "ipykernel", "numpy")
ABOUT = "Binder's environment and settings: 2 GB for the server and its kernels together, one processor"
ENFORCED = "the limit is hard: a process that takes 3 GB in the group is killed, one that takes 1 GB is not"
CULLED = "the settings in binder/ shut an idle kernel down, its page still open, and leave a busy one alone"
# Fine-tuning all of SmolLM2's weights does not fit. Each of these must be told so by the course, before the kernel is killed.
TOO_LARGE: dict[str, dict[str, Any]] = {
    "04": {"profile": "smollm2", "max_reviews": 60},
    "05": {"profile": "smollm2"},
    "06": {"profile": "smollm2", "max_steps": 2},
    "07": {"profile": "smollm2", "max_steps": 2},
    "08": {"profile": "smollm2"},
}


@dataclass
class BinderRecord(Record):
    """notebooks: by name, the bytes that server and kernels held together at most (`Held`), whether that fits, and the minutes."""

    limit_bytes: int = LIMIT
    notebooks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def keep(self, earlier: Path) -> None:
        """Take over from an earlier record what was not done this time; what is said of a notebook only while its code is the same. A
        notebook of which nothing is known then is noted as not run."""
        marks = {notebook.name: _mark(notebook) for notebook in choose_notebooks()}
        order = [_fits(name) for name in marks]
        content = json.loads(earlier.read_text(encoding="utf8")) if earlier.is_file() else {"notebooks": {}, "checks": [], "versions": {}}
        kept = {name: row for name, row in content["notebooks"].items() if marks.get(name) == row["code"]}
        done = {check.what for check in self.checks}
        self.notebooks = dict(sorted({**kept, **self.notebooks}.items()))
        known = [Check(**check) for check in content["checks"] if check["what"] not in {*done, *order}]
        known += [Check(**check) for check in content["checks"] if check["what"] in {_fits(name) for name in kept} - done]
        self.checks = known + self.checks
        for name in marks.keys() - self.notebooks.keys():
            self.not_run(_fits(name), "not with its code as it is now")
        self.checks.sort(key=lambda check: order.index(check.what) if check.what in order else -1)
        self.versions = self.versions or content["versions"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m environments.binder", description="The course as Binder would run it.")
    parser.add_argument("--notebooks", nargs="+", metavar="NAME", help="only these notebooks, and no other check")
    parser.add_argument("--checks", action="store_true", help="everything but the notebooks")
    parser.add_argument("--folder", type=Path, help="keep the environment and the runs here, and use them again")
    options = parser.parse_args(arguments)
    record = BinderRecord("binder", ABOUT, "python -m environments.binder")
    checks = options.checks or not options.notebooks
    names = None if options.checks and not options.notebooks else options.notebooks or ()
    with _place(options.folder) as folder:
        if checks:
            examine(record, folder)
            record.not_run("the image is built, and opened on mybinder.org", "needs Docker, conda-forge and mybinder.org")
        python = prepare(record, folder)
        if python is not None and (group := _group(record)) is not None:
            with group:
                if checks:
                    check_limit(record, group)
                    check_culling(record, folder, python, group)
                    check_choices(record, folder, python, group)
                if names is not None:
                    run_notebooks(record, folder, python, group, names)
    record.keep(RESULTS / "binder.json")
    return record.write()


def _group(record: Record) -> MemoryGroup | None:
    try:
        return make_group(LIMIT)
    except MachineError as error:
        record.not_run(ENFORCED, f"{error.problem} {error.remedy}")
        return None


MARKER = ".binder-check"
FOLDER = Kind(
    "a folder of this check", lambda folder: any((folder / name).is_file() for name in (MARKER, "environment.installed")), stays=True
)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder = destination(folder, FOLDER, "--folder")
        write_text(folder / MARKER, "")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="binder-") as temporary:
        yield Path(temporary)


def prepare(record: Record, folder: Path) -> Path | None:
    """Do in a virtual environment what Binder's build does in conda's: the packages of binder/environment.yml, the repository's files,
    binder/postBuild. Returns its Python, or None where that failed.

    PyTorch comes first, because of its size: TORCH_INDEX names an index for it, as in the Makefile.
    """
    environment, python = folder / "environment", folder / "environment" / "bin" / "python"
    wanted = requirements()
    mark, digest = folder / "environment.installed", hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    if not mark.is_file() or mark.read_text(encoding="utf8") != digest:
        shutil.rmtree(environment, ignore_errors=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        index = ["--index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
        [torch] = [line for line in wanted if line.startswith("torch==")]
        steps = [[sys.executable, "-m", "venv", environment], [*pip, *index, torch], [*pip, *wanted]]
        start = time.monotonic()
        for step in steps:
            done = subprocess.run([str(word) for word in step], capture_output=True, encoding="utf8", errors="replace", check=False)
            if done.returncode:
                print(done.stdout[-2000:] + done.stderr[-2000:])
                record.note("the packages of binder/environment.yml install", False, "pip failed", time.monotonic() - start)
                return None
        mark.write_text(digest, encoding="utf8")
        detail = f"{len(wanted)} requirements, by pip in a virtual environment; conda itself was not run"
        record.note("the packages of binder/environment.yml install", True, detail, time.monotonic() - start)
    _copy_repository(folder / "repository")
    build = {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "NB_PYTHON_PREFIX": str(environment), "PYTHONPATH": ""}
    done = record.run("binder/postBuild runs", ["bash", "binder/postBuild"], cwd=folder / "repository", environment=build)
    if done.returncode:
        return None
    code = f"import json; from importlib.metadata import version; print(json.dumps({{name: version(name) for name in {NAMED!r}}}))"
    record.versions = json.loads(
        subprocess.run([python, "-c", code], capture_output=True, encoding="utf8", errors="replace", check=True).stdout
    )
    return python


def requirements() -> list[str]:
    """pip's lines in binder/environment.yml, without its options."""
    import yaml

    content = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text(encoding="utf8"))
    [lines] = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return [line for line in lines if not line.startswith("-")]


def _copy_repository(target: Path) -> None:
    """The files that git knows, as they are now; what a run left in the copy's `runs/` stays."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf8", errors="replace", check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


@contextmanager
def server_in(group: MemoryGroup, folder: Path, python: Path, *options: str) -> Iterator[JupyterServer]:
    """A server in the group and on one processor, with caches of its own; the Hub is switched off."""
    processor = min(os.sched_getaffinity(0))

    def enter() -> None:
        group.enter()
        os.sched_setaffinity(0, {processor})

    environment = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "huggingface"),
        "NBTOOLS_CACHE": str(folder / "cache"),
    }
    with jupyter_server(python, folder / "repository", folder / "server", environment=environment, enter=enter, options=options) as server:
        yield server


def check_limit(record: Record, group: MemoryGroup) -> None:
    ends = [_take(group, gigabytes) for gigabytes in (1, 3)]
    killed = group.kills()
    record.note(ENFORCED, ends == [0, -9] and killed == 1, f"{killed} killed by the kernel at {group.limit / 1e9:.1f} GB")


def _take(group: MemoryGroup, gigabytes: int) -> int:
    """How a process in the group ends that fills so many GB."""
    code = f"block = bytearray(b'x') * {gigabytes}_000_000_000"
    return subprocess.run([sys.executable, "-c", code], preexec_fn=group.enter, check=False).returncode


def check_culling(record: Record, folder: Path, python: Path, group: MemoryGroup) -> None:
    """Nothing but the timeout is shortened; how often the server looks is the setting's own."""
    start = time.monotonic()
    settings = json.loads((ROOT / "binder" / "jupyter_server_config.json").read_text(encoding="utf8"))["MappingKernelManager"]
    shown = subprocess.run(
        [python, "-m", "jupyterlab", "--show-config-json"], capture_output=True, encoding="utf8", errors="replace", check=True
    )
    found = json.loads(shown.stdout).get("MappingKernelManager", {}) == settings
    with server_in(group, folder, python, "--MappingKernelManager.cull_idle_timeout=5") as server:
        look = settings["cull_interval"]
        with (
            server.session("notebooks/00_setup.ipynb") as idle,
            server.session("notebooks/01_attention.ipynb") as busy,
            server.connected(idle) as page,
            server.connected(busy) as other,
        ):
            page.execute("1")
            asked = other.send(f"import time; time.sleep({2 * look})")
            gone = _until(lambda: idle not in _kernels(server), 3 * look)
            stayed = busy in _kernels(server)
            ended = other.wait_for(asked)[1] == ""
    detail = f"looks every {look} s; idle for {settings['cull_idle_timeout'] / 60:.0f} minutes there, 5 s in this check"
    record.note(CULLED, found and gone and stayed and ended, detail, time.monotonic() - start)


def _kernels(server: JupyterServer) -> set[str]:
    return {kernel["id"] for kernel in server.ask("GET", "/api/kernels")}


def _until(happened: Callable[[], bool], seconds: float) -> bool:
    """Whether it did, looked at every second for so long."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


def check_choices(record: Record, folder: Path, python: Path, group: MemoryGroup) -> None:
    """A choice that does not fit is said to, in the box or by a refusal, and nothing is killed."""
    start, killed = time.monotonic(), group.kills()
    settings = {**os.environ, "PYTHONPATH": "", "NBTOOLS_CACHE": str(folder / "cache")}
    with group.watched() as held:
        done = subprocess.run(
            [python, "-m", "nbtools.cli", "fetch", "smollm2"], cwd=folder, env=settings, preexec_fn=group.enter, check=False
        )
    detail, well = f"{held.anonymous / 1e9:.2f} GB at most", done.returncode == 0 and group.kills() == killed
    record.note("`nbtools fetch smollm2` fits", well, detail, time.monotonic() - start)
    if done.returncode:
        return
    for name, values in TOO_LARGE.items():
        [notebook] = choose_notebooks([name])
        with server_in(group, folder, python) as server:
            outcome, row = measure(server, group, notebook, values)
        warned = any("not enough" in text for text in outcome.texts)
        refused = "MachineError" in outcome.error and "of memory" in outcome.error
        given = ", ".join(f"{key}={value}" for key, value in values.items())
        detail = f"{'said in the box' if warned else 'not said in the box'}; {_last_problem(outcome)}; {row['killed']} killed"
        what = f"{notebook.name} with {given} says that it does not fit"
        record.note(what, warned and refused and not row["killed"], detail, outcome.seconds)


def run_notebooks(record: BinderRecord, folder: Path, python: Path, group: MemoryGroup, names: Iterable[str]) -> None:
    """One after the other on one server, and on another where the limit has taken it."""
    waiting = choose_notebooks(names)
    while waiting:
        with server_in(group, folder, python) as server:
            while waiting and server.process.poll() is None:
                run_notebook(record, server, group, waiting.pop(0))


def run_notebook(record: BinderRecord, server: JupyterServer, group: MemoryGroup, notebook: Notebook) -> None:
    """All cells of a notebook with its own parameters; then its kernel is shut down, as its last line asks."""
    print(f"{notebook.name} …", flush=True)
    outcome, row = measure(server, group, notebook)
    record.notebooks[notebook.name] = row
    detail = f"{row['anonymous_bytes'] / 1e9:.2f} GB, {row['minutes']} minutes"  # the other figures are in `notebooks`
    record.note(_fits(notebook.name), row["fits"], detail if row["fits"] else f"{detail}; {_last_problem(outcome)}", outcome.seconds)


def measure(
    server: JupyterServer, group: MemoryGroup, notebook: Notebook, values: Mapping[str, Any] | None = None
) -> tuple[Outcome, dict[str, Any]]:
    """Run a notebook, with `values` set behind its parameters, and say what the group held meanwhile."""
    killed = group.kills()
    parameters = notebook.code.index(notebook.parameter_source) + 1
    given = ["\n".join(f"{name} = {value!r}" for name, value in values.items())] if values else []
    alone = group.now().anonymous
    with group.watched() as held:
        outcome = server.run(f"notebooks/{notebook.path.name}", [*notebook.code[:parameters], *given, *notebook.code[parameters:]])
    killed = group.kills() - killed
    row = {
        "fits": not outcome.error and not killed,
        "minutes": round(outcome.seconds / 60, 1),
        "anonymous_bytes": held.anonymous,
        "charged_bytes": held.charged,
        "server_bytes": alone,
        "killed": killed,
        "code": _mark(notebook),
    }
    return outcome, row


def _last_problem(outcome: Outcome) -> str:
    lines = [line.strip() for line in outcome.error.splitlines() if line.strip()]
    problem = next((line for line in lines if "MachineError" in line), lines[-1] if lines else "no error")
    return f"cell {outcome.cells + 1} of {outcome.total}: {problem}" if lines else problem


def _fits(name: str) -> str:
    return f"{name} fits"


def _mark(notebook: Notebook) -> str:
    """Tells whether a notebook's code is still that which was run."""
    return hashlib.sha256("\n".join(notebook.code).encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
