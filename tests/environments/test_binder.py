"""binder/ as its readers read it, and the record of the check; the check itself is `python -m environments.binder`."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from environments import binder, buildpack
from environments.binder import BinderRecord
from environments.record import ROOT
from nbtools.notebooks import choose_notebooks

GOOD: dict[str, Any] = {
    "version": "2026.4.0",
    "pack": "CondaBuildPack",
    "python": "3.11",
    "environment_file": "binder/environment.yml",
    "dependencies": ["python=3.11", "pip", {"pip": ["transformers>=5.10"]}],
    "post_build": ["binder/postBuild"],
    "start": None,
    "dockerfile": """
ENV KERNEL_PYTHON_PREFIX=${NB_PYTHON_PREFIX}
ENV PATH=${NB_PYTHON_PREFIX}/bin:${PATH}
RUN bash -c '${MAMBA_EXE} env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"'
RUN ./binder/postBuild
CMD ["jupyter", "notebook", "--ip", "0.0.0.0"]
""",
}


@pytest.mark.skipif(importlib.util.find_spec("repo2docker") is None, reason="jupyter-repo2docker is not installed here")
def test_repo2docker_picks_what_the_course_needs() -> None:
    assert buildpack.faults(buildpack.ask(sys.executable)) == []


def test_what_repo2docker_could_get_wrong_is_seen() -> None:
    assert buildpack.faults(GOOD) == []
    for name, value in (
        ("pack", "PythonBuildPack"),
        ("python", "3.10"),
        ("post_build", []),
        ("start", "binder/start"),
        ("environment_file", None),
    ):
        assert buildpack.faults({**GOOD, name: value}), name
    for line in filter(None, GOOD["dockerfile"].splitlines()):
        assert buildpack.faults({**GOOD, "dockerfile": GOOD["dockerfile"].replace(line, "")}), line
    assert buildpack.faults({**GOOD, "dependencies": ["python=3.11", "pip"]})


def test_the_settings_are_traits_that_the_server_has() -> None:
    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, MappingKernelManager

    settings = json.loads((ROOT / "binder" / "jupyter_server_config.json").read_text(encoding="utf8"))
    assert list(settings) == ["MappingKernelManager"] and issubclass(AsyncMappingKernelManager, MappingKernelManager)
    kernels = MappingKernelManager(**settings["MappingKernelManager"])
    assert kernels.cull_idle_timeout >= 600 and kernels.cull_connected and not kernels.cull_busy
    assert 0 < kernels.cull_interval <= kernels.cull_idle_timeout / 10
    assert set(settings["MappingKernelManager"]) <= set(MappingKernelManager.class_trait_names(config=True))


@pytest.mark.skipif(sys.platform == "win32", reason="Binder's script is for bash")
def test_post_build_puts_the_settings_where_the_server_reads_them(tmp_path: Path) -> None:
    """With a `python` that installs nothing; Jupyter itself is asked for the place."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    path = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "NB_PYTHON_PREFIX": str(tmp_path)}
    subprocess.run(["bash", "binder/postBuild"], cwd=ROOT, env={**os.environ, **path}, check=True)
    settings = json.loads((ROOT / "binder" / "jupyter_server_config.json").read_text(encoding="utf8"))
    code = "import sys; sys.prefix = sys.argv.pop(); from jupyterlab.labapp import main; main()"
    apart = {"JUPYTER_CONFIG_DIR": str(tmp_path / "none"), "JUPYTER_PREFER_ENV_PATH": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", code, "--show-config-json", str(tmp_path)],
        env={**os.environ, **apart},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(shown.stdout)["MappingKernelManager"] == settings["MappingKernelManager"]


def test_pips_options_are_no_requirements() -> None:
    found = binder.requirements()
    assert "jupyterlab>=4.4" in found and not any(line.startswith("-") for line in found)


def test_a_portion_leaves_the_rest_of_the_record(tmp_path: Path) -> None:
    """Of a notebook whose code has changed, nothing is kept."""
    marks = {notebook.name: binder._mark(notebook) for notebook in choose_notebooks()}
    first = BinderRecord("binder", "", "", {"torch": "1"})
    first.note("the limit is hard", True)
    for name, mark in (("05_sampling", marks["05_sampling"]), ("04_finetuning", marks["04_finetuning"]), ("03_generation", "other")):
        first.notebooks[name] = {"code": mark, "minutes": 1}
        first.note(f"{name} fits", True)
    first.write(tmp_path)

    second = BinderRecord("binder", "", "")
    second.notebooks["04_finetuning"] = {"code": marks["04_finetuning"], "minutes": 2}
    second.note("04_finetuning fits", False)
    second.keep(tmp_path / "binder.json")
    found = {check.what: check.outcome for check in second.checks}
    assert len(found) == len(second.checks) == 1 + len(marks)
    assert next(iter(found)) == "the limit is hard" and list(found)[1:] == [f"{name} fits" for name in marks]
    assert [what for what, outcome in found.items() if outcome == "passed"] == ["the limit is hard", "05_sampling fits"]
    assert [what for what, outcome in found.items() if outcome == "failed"] == ["04_finetuning fits"]
    assert {name: row["minutes"] for name, row in second.notebooks.items()} == {"04_finetuning": 2, "05_sampling": 1}
    assert second.versions == {"torch": "1"}
    alone = BinderRecord("binder", "", "")
    alone.keep(tmp_path / "none.json")
    assert {check.outcome for check in alone.checks} == {"not run"}


def test_every_choice_that_is_tried_names_parameters_of_its_notebook() -> None:
    from nbtools.notebooks import read_parameters

    for name, values in binder.TOO_LARGE.items():
        [notebook] = choose_notebooks([name])
        assert values.keys() <= read_parameters(notebook).keys()
