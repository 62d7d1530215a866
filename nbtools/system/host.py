"""The service or program that runs this code, and whether somebody is watching."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

HOSTS = {
    "colab": "Google Colab",
    "kaggle": "Kaggle",
    "binder": "Binder",
    "jupyterhub": "JupyterHub",
    "vscode": "VS Code",
    "local": "this computer",
}
VARIABLES = {  # by host, in this order: Kaggle builds on Colab's image and keeps its variables, and Binder is a JupyterHub
    "kaggle": {"KAGGLE_KERNEL_RUN_TYPE"},
    "colab": {"COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_BACKEND_VERSION"},
    "binder": {"BINDER_SERVICE_HOST", "BINDER_LAUNCH_HOST"},
    "jupyterhub": {"JUPYTERHUB_USER"},
    "vscode": {"VSCODE_PID", "VSCODE_CWD"},
}


def name_host(environment: Mapping[str, str] | None = None) -> str:
    """The key in `HOSTS` of the service or program that runs this process, recognized by the environment variables that it sets."""
    env = os.environ if environment is None else environment
    if host := next((host for host, names in VARIABLES.items() if names & env.keys()), None):
        return host
    return "vscode" if env.get("TERM_PROGRAM") == "vscode" else "local"


def headless() -> bool:
    """Whether outputs are stored for later readers (`NBTOOLS_HEADLESS=1`), so that views are shown in their static form only."""
    return os.environ.get("NBTOOLS_HEADLESS", "0") == "1"


def interactive() -> bool:
    """Whether somebody may be watching, so that a live view is worth showing.

    `NBTOOLS_HEADLESS` decides if it is 0 or 1. Otherwise a cell counts as watched if its front end allows `input()`: papermill,
    `nbconvert --execute` and other programs that execute notebooks do not.
    """
    if os.environ.get("NBTOOLS_HEADLESS") in {"0", "1"}:
        return not headless()
    return bool(cell_request().get("content", {}).get("allow_stdin", True))


def cell_request() -> Mapping[str, Any]:
    """The message with which the front end requested the running cell (Jupyter's `execute_request`); empty outside a kernel."""
    if "IPython" not in sys.modules:
        return {}
    from IPython import get_ipython

    kernel: Any = getattr(get_ipython(), "kernel", None)
    return (kernel.get_parent("shell") or {}) if hasattr(kernel, "get_parent") else {}
