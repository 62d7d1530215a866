"""pip's settings, and the options that make uv use the same indexes, mirrors, certificates and proxy."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.machinery import PathFinder

from nbtools.errors import MachineError

PYPI = "https://pypi.org/simple"
SECTIONS = ("global", "download", ":env:")  # of `pip config list`; where one name is in several, the last applies
UV_VARIABLES = {  # setting of pip -> environment variables of uv
    "cert": ["SSL_CERT_FILE"],
    "client-cert": ["SSL_CLIENT_CERT"],
    "proxy": ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"],
    "timeout": ["UV_HTTP_TIMEOUT"],
    "default-timeout": ["UV_HTTP_TIMEOUT"],
}


def check_pip() -> None:
    """Raise MachineError if this Python has no pip."""
    # Not importlib.util.find_spec: see nbtools/models/wheel.py.
    if not PathFinder.find_spec("pip"):
        raise MachineError("This Python has no pip to download with.", f"Run: {sys.executable} -m ensurepip --upgrade")


def read_pip_settings() -> dict[str, str]:
    """The settings of `pip download`, from pip's configuration files and from PIP_* variables: name -> value."""
    check_pip()
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, encoding="utf8", errors="replace", check=False)
    if done.returncode:
        raise MachineError(
            f"pip cannot read its settings: {done.stderr.strip()[-300:]}", "Correct them: `pip config debug` names the files."
        )
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name] = ast.literal_eval(value)
    return {name: value for section in SECTIONS for name, value in found[section].items()}


def uv_options(settings: dict[str, str]) -> list[str]:
    """Options of `uv pip compile` with the same meaning. As in pip, the newest version from all indexes counts."""
    options = ["--index-strategy", "unsafe-best-match"]
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        options.append("--no-index")
    else:
        options += ["--default-index", settings.get("index-url", PYPI)]
        options += [word for index in settings.get("extra-index-url", "").split() for word in ("--index", index)]
    for setting, option in {"find-links": "--find-links", "constraint": "--constraints", "trusted-host": "--allow-insecure-host"}.items():
        options += [word for value in settings.get(setting, "").split() for word in (option, value)]
    return options


def uv_environment(settings: dict[str, str]) -> dict[str, str]:
    """Environment variables with the same meaning."""
    return {variable: settings[name] for name, variables in UV_VARIABLES.items() if settings.get(name) for variable in variables}
