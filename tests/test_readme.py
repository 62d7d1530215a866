"""README.md: its marked commands run in a clone without a network, and its paths and links exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
COURSE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["course"]

# A block to run is directly below the comment.
MARKED = re.findall(r"^<!-- test -->\n```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# A file that such a block needs, by name.
FILES = re.findall(r"^<!-- file: ([\w.]+) -->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CACHES = {"__pycache__", ".ipynb_checkpoints"}
NOT_IN_A_CLONE = {  # names at the top of the repository, and in its folders
    True: CACHES | {".git", ".venv", "runs", "dist", "build", ".pytest_cache", ".mypy_cache", ".ruff_cache"},
    False: CACHES,
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository like a new clone, without build and run results."""
    folder = tmp_path_factory.mktemp("readme") / "a clone"
    shutil.copytree(ROOT, folder, ignore=lambda parent, names: [name for name in names if name in NOT_IN_A_CLONE[Path(parent) == ROOT]])
    for name, content in FILES:
        (folder / name).write_text(content, encoding="utf8")
    return folder


@pytest.mark.slow(60)
@pytest.mark.parametrize(("language", "block"), MARKED, ids=[block.split("\n")[0][:40] for _, block in MARKED])
def test_a_marked_block_runs_in_a_clone_without_a_network(language: str, block: str, clone: Path) -> None:
    commands = {"bash": ["bash", "-euo", "pipefail", "-c", block], "python": [sys.executable, "-c", block]}
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "HF_HUB_OFFLINE": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    environment.pop("NBTOOLS_RUNS", None)
    done = subprocess.run(commands[language], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    for path in re.findall(r"(?:--out|\.ipynb) ((?:runs/)?[\w.]+)", block):
        assert (clone / path).exists(), f"the block names {path}, which was not created"


def test_there_are_marked_blocks_of_both_kinds() -> None:
    assert {language for language, _ in MARKED} == {"bash", "python"}
    assert README.count("<!-- test -->") == len(MARKED)


def test_every_test_named_in_the_faults_of_sweeps_exists() -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf8")
    rows = page.partition("## Faults")[2].count("\n| ") - 1  # without the head
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) == rows > 10
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / "runs" / file).read_text(encoding="utf8"), name


def test_every_command_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    code = "\n".join(re.findall(r"`([^`\n]+)`", README) + re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"^\s*make ([a-z-]+)", code, re.MULTILINE))
    assert {"course", "lab"} <= named <= targets
    commands = set(re.findall(r"(?:^|[\\/\s])nbtools ([a-z]+)", code))
    shown = "import sys; from nbtools.cli import main; sys.argv = ['nbtools', '--help']; main()"
    known = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert {"doctor", "run"} <= commands
    for command in commands:
        assert re.search(rf"^\s+{command}\b", known, re.MULTILINE), command


def test_every_link_and_picture_leads_to_a_file() -> None:
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", README) if not re.match(r"[a-z]+:", target)]
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / target.partition("#")[0]).exists(), target


def test_pictures_have_alternative_text() -> None:
    for words in re.findall(r"!\[([^\]]*)\]\(", README):
        assert len(words) > 20 or words.startswith("Open in "), words


def test_the_map_names_every_part_of_the_package_and_nothing_else() -> None:
    named = re.findall(r"^\| `(nbtools/[\w./]+)` \|", CONTRIBUTING, re.MULTILINE)
    parts = {path for path in (ROOT / "nbtools").iterdir() if path.name not in ("__pycache__", "__init__.py", "__main__.py")}
    assert {ROOT / name.rstrip("/") for name in named} == parts


def test_every_notebook_is_in_the_table() -> None:
    linked = re.findall(r"\]\(notebooks/([\w]+\.ipynb)\)", README)
    assert linked == sorted(path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def test_no_text_says_to_install_another_projects_nbtools() -> None:
    assert not re.search(r"install\s+(-\S+\s+)*['\"]?nbtools\b", README)


def test_no_link_leads_to_a_repository_without_an_address() -> None:
    """Without a public address of the repository there are no such links; with one, every link has it."""
    found = set(re.findall(r"https?://(?:www\.)?(?:github\.com|colab\.research\.google\.com|mybinder\.org)/[^)\s>]*", README))
    places = {address for address in found if not address.endswith(".svg")}
    if not COURSE["repository"]:
        assert found == set()
    else:
        name = COURSE["repository"].rstrip("/").removeprefix("https://github.com/")
        assert places and all(name in address for address in places)


def test_pictures_and_links_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/refresh_readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
