"""docs/workshop.md: commands and options exist, marked commands run, times and memory are the recorded ones."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "workshop.md").read_text(encoding="utf8")
COSTS = json.loads((ROOT / "nbtools" / "assets" / "costs.json").read_text(encoding="utf8"))["notebooks"]
MARKED = re.findall(r"^<!-- test -->\n```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows(mark: str) -> list[list[str]]:
    """The cells of the table below a marker, without its header."""
    table = re.search(rf"^<!-- {mark} -->\n((?:\|.*\n)+)", PAGE, re.MULTILINE)[1]  # type: ignore[index]
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]


def environment(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "NBTOOLS_PROGRESS": "0", **more}


def mark_of(block: str) -> pytest.MarkDecorator:
    """The dry run is also tested as a command of the README."""
    return pytest.mark.long(30) if "--dry-run" in block else pytest.mark.slow(8)


@pytest.mark.parametrize("block", [pytest.param(block, marks=mark_of(block), id=block.split("\n")[0][:30]) for block in MARKED])
def test_a_marked_command_runs(block: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    (tmp_path / "handed-in").mkdir()
    progress = {"schema": 1, "name": "Ada", "exercises": {"04-shift": {"tries": 2, "hints": 1, "solved": "2026-01-01"}}}
    (tmp_path / "handed-in" / "ada.json").write_text(json.dumps(progress))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environment(NBTOOLS_RUNS=str(tmp_path / "runs")),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    for path in re.findall(r"--(?:out|csv) (\S+)", block):
        assert (tmp_path / path).is_file()


def test_there_are_marked_commands() -> None:
    assert len(MARKED) == PAGE.count("<!-- test -->") == 3


def test_every_command_and_option_exists() -> None:
    code = "\n".join(re.findall(r"`([^`\n]+)`", PAGE) + re.findall(r"^```\w*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    named: dict[str, set[str]] = {}
    for command, rest in re.findall(r"(?:^|[\\/\s])nbtools ([a-z]+)\b([^\n]*)", code):
        named.setdefault(command, set()).update(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
    named["bundle"] |= set(re.findall(r"`(--[a-z-]+)", PAGE.partition("## The day before")[0]))
    assert {"bundle", "doctor", "progress", "solve", "run"} <= set(named) and "--offline" in named["doctor"]
    assert {"--profile", "--out", "--platform", "--python", "--check", "--torch-index"} <= named["bundle"]
    for command, options in named.items():
        words = [sys.executable, "-m", "nbtools.cli", command, "--help"]
        shown = subprocess.run(words, capture_output=True, text=True, check=True, env=environment(COLUMNS="200"), cwd=ROOT).stdout
        for option in options:
            assert re.search(rf"^\s+{option}\b", shown, re.MULTILINE), f"nbtools {command} {option}"


def test_every_link_leads_to_a_file_and_to_a_heading() -> None:
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", PAGE) if not re.match(r"[a-z]+:", target)]
    assert len(targets) > 10
    for target in targets:
        name, _, heading = target.partition("#")
        file = (ROOT / "docs" / name).resolve()
        assert file.is_file(), target
        if heading:
            found = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for words in found}, target


@pytest.mark.parametrize("minutes", [120, 240])
def test_a_plan_adds_up_from_the_recorded_times(minutes: int) -> None:
    total = 0
    for spent, what, machine, exercises, talk in rows(f"plan: {minutes}"):
        total += int(spent)
        if not machine:
            assert (exercises, talk) == ("", "")
            continue
        name = re.search(r"notebooks/(\w+)\.ipynb", what)[1]  # type: ignore[index]
        assert int(machine) == math.ceil(COSTS[name]["seconds"] / 60), what
        named = re.findall(r"`([\w-]+)`", exercises)
        assert named and all(exercise.startswith(name[:2]) for exercise in named)
        notebook = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf8")
        times = {exercise: int(time) for exercise, time in re.findall(r"\*\*Exercise ([\w-]+)\*\* · (\d+) minutes", notebook)}
        assert int(exercises.rpartition(": ")[2]) == sum(times[exercise] for exercise in named), what
        assert int(spent) == int(machine) + int(exercises.rpartition(": ")[2]) + int(talk), what
    assert total == minutes


def test_memory_is_computed_from_the_recorded_peaks() -> None:
    for (_, name, peak, thirty, two), minutes in zip(rows("memory"), (120, 240), strict=True):
        notebooks = re.findall(r"notebooks/(\w+)\.ipynb", str(rows(f"plan: {minutes}")))
        peaks = sorted((COSTS[notebook]["peak_memory_bytes"] / 1e9 for notebook in notebooks), reverse=True)
        assert COSTS[name]["peak_memory_bytes"] / 1e9 == peaks[0]
        assert (float(peak), float(thirty), float(two)) == (round(peaks[0], 2), round(30 * peaks[0], 1), round(30 * sum(peaks[:2]), 1))
    minutes = COSTS["04_finetuning"]["seconds"] / 60
    assert f"takes {minutes:.1f} minutes on two cores, so thirty at once are {30 * 2 * minutes:.0f} core-minutes" in PAGE


@pytest.mark.slow
def test_the_shown_output_of_doctor_is_up_to_date() -> None:
    """The verdict, and the names of the checks in their order."""
    shown = re.search(r"^<!-- doctor -->\n```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1].splitlines()  # type: ignore[index]
    words = [sys.executable, "-m", "nbtools.cli", "doctor", "--offline", "--json"]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=False, env=environment(), cwd=ROOT).stdout)
    assert shown[0] == found["verdict"]
    assert [line.split("│")[1].strip() for line in shown[3:]] == [check["name"] for check in found["checks"]]


def test_quoted_errors_are_in_the_code() -> None:
    files = [*(ROOT / "nbtools" / "bundle").rglob("*.py"), ROOT / "tools" / "bundle" / "templates" / "install.sh"]
    sources = "".join(path.read_text(encoding="utf8") for path in files)
    for words in ("is needed, and none was found", "the bundle is for", "is damaged", "is missing", "holds other things"):
        assert words in PAGE and words in sources


def test_no_placeholder_is_left() -> None:
    assert not re.search(r"[A-Z]+_(?:MB|GB)\b|\bTODO\b|\?\?", PAGE)


def test_no_text_says_to_install_another_projects_nbtools() -> None:
    assert not re.search(r"install\s+(-\S+\s+)*['\"]?nbtools\b", PAGE)
