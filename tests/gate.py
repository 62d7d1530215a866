"""A pytest plugin, loaded by conftest.py: runs the longest tests first, sets time-outs, and checks that slow tests are marked `slow`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell

from tests.notebooks.tiny import write_tiny_finetuning

ROOT = Path(__file__).parents[1]
CACHE = Path(os.environ["NBTOOLS_CACHE"])
TEMPORARY = Path(os.environ["NBTOOLS_RUNS"]).parent  # see conftest.py

# Under nbval a notebook runs as it is stored, except for these parameters; the compared outputs are the same after the shorter run.
# With `--stored-parameters`, as in `make check-all`, nothing is changed. Notebook 05 then uses the model that 04 has saved.
TINY_NOTEBOOK = write_tiny_finetuning(TEMPORARY / "tiny")  # notebook 09 sweeps this one
SHORTER: dict[str, dict[str, Any]] = {
    "00_setup": {"first_steps": 8},
    "04_finetuning": {"max_steps": 64, "max_reviews": 600, "overfit_epochs": 4},
    "05_sampling": {"label_steps": 8},
    "06_pitfalls": {"max_steps": 16, "max_reviews": 160, "block_size": 192, "seeds": 2},
    "07_your_own": {"max_steps": 12, "max_texts": 1000},
    "08_other_tasks": {"max_reviews": 300, "test_reviews": 100, "epochs": 1, "max_tokens": 96, "rewriter_steps": 40, "seeds": 1},
    "09_sweeps": {"notebook": str(TINY_NOTEBOOK), "steps": [5, 30]},
}
RUNS_AFTER = {"05_sampling": "04_finetuning"}  # a notebook that uses another one's results runs after it, in the same process
KERNEL = {"NBTOOLS_HEADLESS": "1", "NBTOOLS_PROGRESS": "0", "NBTOOLS_RUNS": str(TEMPORARY / "notebooks")}

NOTEBOOK_FACTOR = 3  # how much longer a notebook may take here than recorded: one thread, possibly no bf16 units
SLOW_SECONDS = 10.0  # the duration that `slow` without an argument means
LIMIT_SECONDS = 5.0  # of processor time, for a test without the mark; scaled up on processors slower than REFERENCE_SECONDS
REFERENCE_SECONDS = 0.06  # of processor time for `calibrate`, which also takes longer on a busy machine
HANG_SECONDS = 900  # time-out of a test; HANG_FACTOR times the seconds of its mark if that is more
HANG_FACTOR = 30
FIXTURE_SECONDS = pytest.StashKey[float]()  # processor time of the fixtures that were created for one test
NEW_MODULES = 100  # a test that imports more modules than this is the first to need a library


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stored-parameters", action="store_true", help="run notebooks with the parameters that they are stored with")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    costs = json.loads((ROOT / "nbtools" / "assets" / "costs.json").read_text(encoding="utf8"))["notebooks"]
    for item in items:
        if isinstance(item, IPyNbCell):
            _prepare_cell(item, costs, stored=config.getoption("--stored-parameters"))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(max(HANG_SECONDS, HANG_FACTOR * expected_seconds(item))))
    if hasattr(config, "workerinput"):  # under xdist, where a free process takes the next group or test
        longest_first(items)


def _prepare_cell(item: Any, costs: dict[str, Any], stored: bool) -> None:
    """Group the cells of a notebook, in order, and shorten the long ones' parameters."""
    name = item.path.stem
    item.add_marker(pytest.mark.xdist_group(RUNS_AFTER.get(name, name)))
    seconds = NOTEBOOK_FACTOR * costs.get(name, {}).get("seconds", SLOW_SECONDS)
    item.add_marker(pytest.mark.slow(seconds / max(1, len(item.parent.nb.cells))))
    item.add_marker(pytest.mark.timeout(int(item.config.getoption("nbval_cell_timeout")) + 600))
    item.output_timeout = 600  # seconds between two outputs; nbval's default of 5 is too short on a busy machine
    if "parameters" in item.cell.metadata.get("tags", []) and not stored:
        item.cell.source += "".join(f"\n{key} = {value!r}" for key, value in SHORTER.get(name, {}).items())


def expected_seconds(item: pytest.Item) -> float:
    """About how long a test takes: the seconds of its mark `slow` or `long`, or 0."""
    mark = item.get_closest_marker("slow") or item.get_closest_marker("long")
    return 0.0 if mark is None else float(mark.args[0]) if mark.args else SLOW_SECONDS


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests by their seconds; the tests of a group stay together and in order."""
    total: dict[str, float] = {}
    groups = []
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        groups.append(str(mark.args[0]) if mark else item.nodeid)
        total[groups[-1]] = total.get(groups[-1], 0.0) + expected_seconds(item)
    first = {group: number for number, group in reversed(list(enumerate(groups)))}
    order = sorted(range(len(items)), key=lambda number: (-total[groups[number]], first[groups[number]], number))
    items[:] = [items[number] for number in order]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    if not isinstance(item, IPyNbCell):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:  # a notebook's kernel starts here
        for name, value in KERNEL.items():
            patch.setenv(name, value)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, object, object]:
    """Add the time of function-scoped fixtures to that of their test."""
    before = _processor_seconds()
    result = yield
    if fixturedef.scope == "function":
        request.node.stash[FIXTURE_SECONDS] = request.node.stash.get(FIXTURE_SECONDS, 0.0) + _processor_seconds() - before
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """If slow tests are deselected, as in `make check`, fail every other test that takes too long, so that the check stays short.

    `make test` has no such limit, because it must pass on a busy machine, too.
    """
    if "not slow" not in item.config.getoption("markexpr"):
        return (yield)
    start, loaded = _processor_seconds(), _loaded()
    result = yield
    spent = _processor_seconds() - start + item.stash.get(FIXTURE_SECONDS, 0.0)
    if spent > LIMIT_SECONDS and not _loaded_libraries(loaded):
        spent /= max(1.0, calibrate() / REFERENCE_SECONDS)
    if spent > LIMIT_SECONDS and not _loaded_libraries(loaded):
        pytest.fail(
            f"The test passed, but took {spent:.1f} s of processor time; without the mark `slow`, {LIMIT_SECONDS:g} s are allowed.\n"
            f"Make it shorter, or mark it: @pytest.mark.slow({spent:.0f})",
            pytrace=False,
        )
    return result


def _loaded() -> tuple[int, int]:
    """The number of modules that this process has imported, and of compiled libraries."""
    return len(sys.modules), len(list(CACHE.glob("kernels/*.so")))


def _loaded_libraries(before: tuple[int, int]) -> bool:
    """Whether a test was the first to import or compile libraries, which is not counted against it."""
    modules, compiled = _loaded()
    return modules - before[0] >= NEW_MODULES or compiled > before[1]


def calibrate() -> float:
    """Seconds of processor time for a fixed amount of work."""
    start = time.process_time()
    for _ in range(20):
        sorted(str(number) for number in range(20_000))
    return time.process_time() - start


def _processor_seconds() -> float:
    """Processor time of this process and of the child processes that it has waited for."""
    return sum(os.times()[:4])
