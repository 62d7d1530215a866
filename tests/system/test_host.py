"""Hosts by their environment variables, and whether somebody is watching."""

from __future__ import annotations

from typing import Any

import pytest

from nbtools.system.host import HOSTS, headless, interactive, name_host


@pytest.mark.parametrize(
    ("variables", "host"),
    [
        ({}, "local"),
        ({"HOME": "/home/ada", "TERM": "xterm"}, "local"),
        ({"COLAB_RELEASE_TAG": "release-colab_20260801"}, "colab"),
        ({"COLAB_GPU": ""}, "colab"),
        ({"COLAB_BACKEND_VERSION": "next"}, "colab"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "kaggle"),
        ({"BINDER_SERVICE_HOST": "10.0.0.1", "JUPYTERHUB_USER": "jovyan-1"}, "binder"),
        ({"BINDER_LAUNCH_HOST": "https://mybinder.org/", "JUPYTERHUB_USER": "jovyan-1"}, "binder"),
        ({"JUPYTERHUB_USER": "ada"}, "jupyterhub"),
        ({"VSCODE_PID": "77"}, "vscode"),
        ({"TERM_PROGRAM": "vscode"}, "vscode"),
        ({"VSCODE_CWD": "/home/ada", "JUPYTERHUB_USER": "ada"}, "jupyterhub"),
    ],
)
def test_host_by_its_variables(variables: dict[str, str], host: str) -> None:
    assert name_host(variables) == host
    assert host in HOSTS


def test_kaggle_is_not_taken_for_colab() -> None:
    """Kaggle builds on Colab's image, which brings Colab's variables along."""
    assert name_host({"COLAB_RELEASE_TAG": "release-colab_20260801", "KAGGLE_KERNEL_RUN_TYPE": "Batch"}) == "kaggle"


def test_host_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    assert name_host() == "colab"


def test_headless_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)
    assert headless() is False
    monkeypatch.setenv("NBTOOLS_HEADLESS", "1")
    assert headless() is True


class Kernel:
    """A kernel whose running cell was asked for by `request`."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.kernel, self.request = self, request

    def get_parent(self, channel: str) -> dict[str, Any]:
        return self.request


@pytest.mark.parametrize(
    ("request_", "variable", "expected"),
    [
        ({"content": {"allow_stdin": True}}, None, True),  # JupyterLab, Notebook, VS Code
        ({"content": {"allow_stdin": False}}, None, False),  # papermill, nbconvert --execute: nbclient's cells may ask for nothing
        ({"content": {"allow_stdin": False}}, "0", True),
        ({"content": {"allow_stdin": True}}, "1", False),
        ({"content": {"data": {}}}, None, True),  # a message from a view
        ({}, None, True),
    ],
)
def test_a_program_that_executes_notebooks_is_told_from_a_person(
    request_: dict[str, Any], variable: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("NBTOOLS_HEADLESS", variable)
    monkeypatch.setattr("IPython.get_ipython", lambda: Kernel(request_))
    assert interactive() is expected
