"""`make publish`: the address in every place that needs it, and nowhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.publish import checked, pages_address

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://github.com/Somebody/the-course"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in ("notebooks", "docs", "tools", "environments", "nbtools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def publish(clone: Path, address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/publish.py", address]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(clone)})


@pytest.mark.slow(20)
def test_one_command_sets_the_address_everywhere(clone: Path) -> None:
    done = publish(clone, f"{ADDRESS}.git")
    assert done.returncode == 0, done.stderr
    assert "pyproject.toml" in done.stdout and "README.md" in done.stdout and "notebooks/00_setup.ipynb" in done.stdout
    assert f'repository = "{ADDRESS}"' in (clone / "pyproject.toml").read_text()
    readme = (clone / "README.md").read_text()
    assert "https://somebody.github.io/the-course/" in readme and "mybinder.org/v2/gh/Somebody/the-course" in readme
    assert "git-pull?repo=https%3A%2F%2Fgithub.com%2FSomebody%2Fthe-course" in readme
    for path in sorted((clone / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        before, after = (json.loads((root / "notebooks" / path.name).read_text()) for root in (ROOT, clone))
        assert any(f"git+{ADDRESS}@v" in "".join(cell["source"]) for cell in after["cells"])
        assert [cell.get("outputs") for cell in before["cells"]] == [cell.get("outputs") for cell in after["cells"]]
    again = publish(clone, ADDRESS)
    assert "Changed: nothing" in again.stdout


@pytest.mark.parametrize(
    "address", ["", "nowhere", "http://github.com/a/b", "https://github.com/a", "https://github.com/a/b/c", "https://x.y/a/b"]
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(SystemExit, match="not the address of a repository"):
        checked(address)


def test_where_the_pages_will_be() -> None:
    assert pages_address(checked(ADDRESS + "/")) == "https://somebody.github.io/the-course/"


@pytest.mark.parametrize("name", ["tests", "pages", "release"])
def test_a_workflow_runs_what_the_project_has(name: str) -> None:
    """Every make target, script and path of tests that a workflow names exists; it has no more rights than it needs."""
    content = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    lines = [step["run"] for job in content["jobs"].values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in lines:
        if made := re.match(r"make ([a-z-]+)", line):
            assert made[1] in targets
        for path in re.findall(r"(?:^|\s)((?:tests/|\.ci/)\S+)", line):
            assert (ROOT / path).exists(), path
    assert content["permissions"]["contents"] == "read"
