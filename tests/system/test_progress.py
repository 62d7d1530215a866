"""Progress as text: after two seconds, not before, and not at all when outputs are stored."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nbtools.system import progress

LINES = "from nbtools.system import progress\nimport time, sys\nprint(sum(progress(range(3), 'adding', unit='number')))\n"


def test_items_pass_through() -> None:
    assert list(progress("abc", "letters")) == ["a", "b", "c"]


def test_short_work_shows_no_bar(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_PROGRESS", "1")
    assert list(progress(range(1000), "short")) == list(range(1000))
    assert "short" not in capfd.readouterr().err


@pytest.mark.parametrize(("switch", "shown"), [("1", True), ("0", False)])
def test_long_work_shows_label_unit_and_time_left(
    switch: str, shown: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar's own clock is set back, so that two seconds have passed without waiting for them."""
    monkeypatch.setenv("NBTOOLS_PROGRESS", switch)
    bar = progress((), "long work", total=100, unit="step")
    if shown:
        bar.start_t -= 10
        bar.last_print_t -= 10
    bar.update(40)
    text = capfd.readouterr().err
    bar.close()
    assert ("long work:  40%" in text and "step" in text and "40/100" in text and "<" in text) is shown
    assert ("long work" in text) is shown


def test_a_bar_goes_to_the_error_stream_and_not_into_what_is_printed() -> None:
    done = subprocess.run([sys.executable, "-c", LINES], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_quiet_libraries_turns_their_bars_off() -> None:
    code = (
        "from nbtools.system import quiet_libraries\nquiet_libraries()\n"
        "from transformers.utils import logging\nprint(logging.is_progress_bar_enabled(), logging.get_verbosity() == logging.ERROR)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
