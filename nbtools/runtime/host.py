"""Which kind of place runs this code, and which secrets and switches it carries."""

from __future__ import annotations

import os
from collections.abc import Mapping

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

    Binder is a JupyterHub, so it is asked for first.
    """
    env = os.environ if environment is None else environment
    if "COLAB_RELEASE_TAG" in env or "COLAB_GPU" in env or "COLAB_BACKEND_VERSION" in env:
        return "colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in env:
        return "kaggle"
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
    `secret_name` (the walkthrough that this course follows called it `HF_key`).
    """
    from huggingface_hub import constants

    for name in dict.fromkeys(["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", secret_name]):
        if os.environ.get(name, "").strip():
            return f"environment variable {name}"
    if os.path.isfile(constants.HF_TOKEN_PATH) and os.path.getsize(constants.HF_TOKEN_PATH):
        return "token file"
    if name_host() == "colab":
        from google.colab import userdata

        try:
            found = bool(userdata.get(secret_name))
        except (userdata.SecretNotFoundError, userdata.NotebookAccessError):
            found = False
        if found:
            return f"Colab secret {secret_name}"
    return None


def headless() -> bool:
    """Whether outputs are being stored for later readers (`NBTOOLS_HEADLESS=1`): still forms only, no live widget."""
    return os.environ.get("NBTOOLS_HEADLESS", "0") == "1"
