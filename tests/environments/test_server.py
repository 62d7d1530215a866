"""Cells in the kernel of a real Jupyter server: what is printed, an error, and a kernel that dies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from environments.server import JupyterServer, jupyter_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "notebooks").mkdir()
    environment = {"MARK": "seen"}
    with jupyter_server(Path(sys.executable), folder, folder / "scratch", environment=environment, enter=lambda: None) as running:
        yield running


def kernels(server: JupyterServer) -> list[str]:
    return [kernel["id"] for kernel in server.ask("GET", "/api/kernels")]


def test_cells_run_in_the_notebooks_folder_up_to_the_first_that_fails(server: JupyterServer) -> None:
    cells = ["import os; print(os.getcwd().rsplit('/')[-1], os.environ['MARK'])", "x = 2", "print(x + 2)", "1 / 0", "print('never')"]
    outcome = server.run("notebooks/one.ipynb", cells)
    assert (outcome.cells, outcome.total, outcome.texts) == (3, 5, ["notebooks seen\n", "", "4\n", ""])
    assert "ZeroDivisionError" in outcome.error
    assert kernels(server) == []  # shut down with the notebook


def test_a_kernel_that_dies_is_told_and_the_next_notebook_runs(server: JupyterServer) -> None:
    outcome = server.run("notebooks/one.ipynb", ["print('here')", "import os; os.kill(os.getpid(), 9)", "print('never')"])
    assert (outcome.cells, outcome.error) == (1, "The kernel died.")
    again = server.run("notebooks/two.ipynb", ["print('well')"])
    assert (again.cells, again.error, again.texts) == (1, "", ["well\n"])
