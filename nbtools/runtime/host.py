"""Which kind of place runs this code, and which secrets and switches it carries."""

from __future__ import annotations

import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbtools.errors import InputError

HUB_SECONDS = 3.0
HOSTS = {
    "colab": "Google Colab",
    "kaggle": "Kaggle",
    "binder": "Binder",
    "jupyterhub": "JupyterHub",
    "vscode": "VS Code",
    "local": "this computer",
}


def name_host(environment: Mapping[str, str] | None = None) -> str:
    """The key in `HOSTS` of the place that runs this process, from the variables that each place sets.

    The order matters: Kaggle builds on Colab's image and keeps its variables (Kaggle/kagglehub, pull request 230), and Binder
    is a JupyterHub.
    """
    env = os.environ if environment is None else environment
    if "KAGGLE_KERNEL_RUN_TYPE" in env:
        return "kaggle"
    if "COLAB_RELEASE_TAG" in env or "COLAB_GPU" in env or "COLAB_BACKEND_VERSION" in env:
        return "colab"
    if "BINDER_SERVICE_HOST" in env or "BINDER_LAUNCH_HOST" in env:
        return "binder"
    if "JUPYTERHUB_USER" in env:
        return "jupyterhub"
    if "VSCODE_PID" in env or "VSCODE_CWD" in env or env.get("TERM_PROGRAM") == "vscode":
        return "vscode"
    return "local"


def hub_offline() -> bool:
    """Whether the user has switched the Hugging Face Hub off (`HF_HUB_OFFLINE=1`)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_token_source(secret_name: str = "HF_TOKEN") -> str | None:
    """Where a Hugging Face token was found, or None. No character of the token leaves this function.

    Looked at in this order: the environment, the token file that `hf auth login` writes, and, in Colab, the secret called
    `secret_name` (the walkthrough that this course follows called it `HF_key`), then the one under the usual name.
    """
    from huggingface_hub import constants

    if not isinstance(secret_name, str):
        raise InputError(f"secret_name is {type(secret_name).__name__}, not text.", "Give the name of a secret, such as HF_TOKEN.")
    names = dict.fromkeys(["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", secret_name])
    for name in names:
        if os.environ.get(name, "").strip():
            return f"environment variable {name}"
    if _holds_text(Path(constants.HF_TOKEN_PATH)):
        return "token file"
    if name_host() == "colab":
        for name in dict.fromkeys([secret_name, "HF_TOKEN"]):
            if _colab_secret_set(name):
                return f"Colab secret {name}"
    return None


def _holds_text(file: Path) -> bool:
    """Whether `file` can be read and holds more than white space."""
    try:
        return bool(file.read_text(encoding="utf8", errors="replace").strip())
    except OSError:
        return False


def _colab_secret_set(name: str) -> bool:
    """Whether Colab's secret `name` exists and this notebook may read it.

    Every failure means no: the vault answers only inside a notebook's kernel, so a command run with `!` gets an error of its
    own kind there (and a local runtime has Colab's variables without its package).
    """
    try:
        from google.colab import userdata

        return bool(str(userdata.get(name) or "").strip())
    except Exception:
        return False


def headless() -> bool:
    """Whether outputs are being stored for later readers (`NBTOOLS_HEADLESS=1`): still forms only, no live widget."""
    return os.environ.get("NBTOOLS_HEADLESS", "0") == "1"


def interactive() -> bool:
    """Whether somebody may be looking on, for whom a live view is worth showing.

    Not where `NBTOOLS_HEADLESS=1` says so, and not in a cell that papermill, `nbconvert --execute` or another program executes to store its
    outputs: a front end with a person before it lets `input()` ask, these do not. `NBTOOLS_HEADLESS=0` says that there is somebody.
    """
    if os.environ.get("NBTOOLS_HEADLESS") in {"0", "1"}:
        return not headless()
    return bool(cell_request().get("content", {}).get("allow_stdin", True))


def cell_request() -> Mapping[str, Any]:
    """The message by which the front end asked for the cell that runs now (Jupyter's `execute_request`); empty outside a kernel."""
    if "IPython" not in sys.modules:
        return {}
    from IPython import get_ipython

    kernel: Any = getattr(get_ipython(), "kernel", None)
    return (kernel.get_parent("shell") or {}) if hasattr(kernel, "get_parent") else {}


def hub_state() -> str:
    """Whether huggingface.co, or the HF_ENDPOINT in its place, answers now: "reachable", "unreachable" or "off" (by the user).

    The Hub's own client waits for most of a minute before it gives up; this asks first. Raises InputError for a token that cannot be sent:
    the client's error would repeat all of it.
    """
    from huggingface_hub import constants, get_token

    if hub_offline():
        return "off"
    if not all("!" <= letter <= "~" for letter in get_token() or ""):
        raise InputError(
            "The Hub token that is set holds a space, a line break or another character that no token has.",
            "Set it again, or unset it: nothing in this course needs one.",
        )
    return "reachable" if answers(constants.ENDPOINT, HUB_SECONDS) else "unreachable"


def answers(address: str, seconds: float) -> bool:
    """Whether a web server answers at `address` within `seconds`, through the proxy that the environment names, without any token.

    In a thread, because looking up a name has no time-out of its own and can take half a minute without a network.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
            answered.set()
        except urllib.error.HTTPError as error:
            if error.code < 500:  # a refusal is an answer; a gateway's 502 is not the Hub's
                answered.set()
        except (OSError, ValueError):
            return  # no answer

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
