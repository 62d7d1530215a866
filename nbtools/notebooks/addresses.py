"""Where a notebook can be opened with nothing installed: addresses that follow from the repository's public one."""

from __future__ import annotations

import tomllib
from pathlib import Path


def read_repository(clone: Path) -> tuple[str, str]:
    """The repository's public address and its branch, read from pyproject.toml in a clone; ("", "") if no address is set."""
    file = clone / "pyproject.toml"
    course = tomllib.loads(file.read_text(encoding="utf8")).get("tool", {}).get("course", {}) if file.is_file() else {}
    address = str(course.get("repository", "")).rstrip("/")
    return (address, str(course.get("branch", "main"))) if address else ("", "")


def open_links(repository: str, branch: str, notebook: str) -> dict[str, str]:
    """Addresses that open a notebook, by the name of the service; none without a repository.

    repository  such as https://github.com/OWNER/REPO
    notebook    its name, such as "04_finetuning"
    """
    if not repository:
        return {}
    name, file = repository.removeprefix("https://github.com/"), f"notebooks/{notebook}.ipynb"
    return {
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{branch}/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/{file}",
    }
