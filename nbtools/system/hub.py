"""The Hugging Face Hub as seen from this machine: whether it is switched off, whether it answers, and where a token was found."""

from __future__ import annotations

import contextlib
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

from nbtools.errors import InputError
from nbtools.system.host import name_host

HUB_SECONDS = 3.0


def hub_offline() -> bool:
    """Whether the user has switched the Hugging Face Hub off (`HF_HUB_OFFLINE=1`)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def hub_state() -> str:
    """Whether huggingface.co, or `HF_ENDPOINT` instead, answers now: "reachable", "unreachable" or "off" (switched off by the user).

    The Hub's own client waits for most of a minute before it gives up, so this asks first. Raises InputError for a token that cannot be
    sent in a header: the client's own error would show it.
    """
    from huggingface_hub import constants, get_token

    if hub_offline():
        return "off"
    if not all("!" <= letter <= "~" for letter in get_token() or ""):
        raise InputError(
            "The Hub token that is set contains a space, a line break or another character that no token has.",
            "Set it again, or unset it: nothing in this course needs one.",
        )
    return "reachable" if answers(constants.ENDPOINT, HUB_SECONDS) else "unreachable"


def answers(address: str, seconds: float) -> bool:
    """Whether a web server answers at `address` within `seconds`, through the proxy that the environment names and without any token.

    The request runs in a thread: looking up a name has no time-out and can take half a minute without a network.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
            answered.set()
        except urllib.error.HTTPError as error:
            if error.code < 500:  # 401 or 404 is an answer; a gateway's 502 does not come from the Hub
                answered.set()
        except (OSError, ValueError):
            return  # no answer

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def hub_token_source(secret_name: str = "HF_TOKEN") -> str | None:
    """Where a Hugging Face token was found, or None. No character of the token is returned.

    secret_name  a further name to look for, in the environment and among Colab's secrets (the walkthrough that this course follows
                 uses "HF_key")

    Searched in this order: the environment, the token file that `hf auth login` writes, and Colab's secrets. Raises InputError if
    `secret_name` is not text.
    """
    from huggingface_hub import constants

    if not isinstance(secret_name, str):
        raise InputError(f"secret_name is {type(secret_name).__name__}, not text.", "Give the name of a secret, such as HF_TOKEN.")
    for name in dict.fromkeys(["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", secret_name]):
        if os.environ.get(name, "").strip():
            return f"environment variable {name}"
    with contextlib.suppress(OSError):
        if Path(constants.HF_TOKEN_PATH).read_text(encoding="utf8", errors="replace").strip():
            return "token file"
    if name_host() == "colab":
        for name in dict.fromkeys([secret_name, "HF_TOKEN"]):
            if _colab_secret_set(name):
                return f"Colab secret {name}"
    return None


def _colab_secret_set(name: str) -> bool:
    """Whether Colab has a secret called `name` that this notebook may read.

    Any error means no: outside a notebook's kernel (a command run with `!`) the secrets raise an error type of their own, and a local
    Colab runtime has Colab's variables without its package.
    """
    try:
        from google.colab import userdata

        return bool(str(userdata.get(name) or "").strip())
    except Exception:
        return False
