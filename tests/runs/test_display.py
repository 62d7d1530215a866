"""What a person sees of a plan: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nbtools.runs import CourseLines, Execution, Failure, Job, Progress, RunDisplay, SweepLines, display

DONE = {"state": "done", "seconds": 75.0, "peak_memory_bytes": 1.5e9, "value": 0.25}
FAILED = {**DONE, "state": "failed", "failure": Failure("error", 2, 3, "1 / 0", ["ZeroDivisionError"]).record()}


def at_work(job: Job, **more: object) -> Progress:
    execution = Execution(job.name, cell=2, total=3, seconds=10.0)
    return Progress(2, 1, due=[job], running=[job], executions={job.id: execution}, **more)


@pytest.fixture
def job() -> Job:
    return Job("/x/01_next.ipynb", {"rate": 0.5}, id="01_next", store="/nowhere")


def test_a_log_gets_a_line_per_start_and_end_and_now_and_then_one_between(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBTOOLS_PROGRESS", "1")
    out = io.StringIO()
    with RunDisplay(CourseLines(), Console(file=out, width=200)) as shown:
        shown.update(at_work(job))
        shown.update(at_work(job))
        assert out.getvalue() == "[1/2] 01_next: started\n"
        shown.due = 0.1  # half a minute later
        shown.update(at_work(job))
        shown.finish(job, DONE, Progress(2, 1, done=1))
    lines = out.getvalue().splitlines()
    assert lines[1] == "    [1/2] 01_next  cell 2 of 3, 10 s so far, time left not known yet"
    assert lines[2:] == ["[1/2] done   01_next                  75 s   1.5 GB"]


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "DRAW_SECONDS", 0.0)
    out = io.StringIO()
    with RunDisplay(CourseLines(), Console(file=out, width=200, force_terminal=True, legacy_windows=False)) as shown:
        shown.update(at_work(job))
        assert "cell 2 of 3" in out.getvalue() and "started" not in out.getvalue() and "━" in out.getvalue()
        shown.finish(job, DONE, Progress(2, 1, done=1))
        assert shown.bar is None
    assert "\x1b[2K" in out.getvalue(), "the line is erased"


def test_a_failed_notebook_is_shown_with_its_cell_and_a_failed_run_on_one_line(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBTOOLS_HEADLESS", raising=False)
    said = {}
    for lines in (CourseLines(), SweepLines()):
        out = io.StringIO()
        with RunDisplay(lines, Console(file=out, width=200)) as shown:
            shown.finish(job, FAILED, Progress(2, 1, failed=1))
        said[type(lines)] = out.getvalue()
    assert "01_next, code cell 2 of 3: the cell raised an error." in said[CourseLines] and "1 / 0" in said[CourseLines]
    first, second = said[SweepLines].splitlines()
    assert first.split() == ["[1/2]", "failed", "75", "s", "rate", "0.5"]
    assert second.strip() == "the cell raised an error, code cell 2: ZeroDivisionError"


def test_how_far_a_sweep_is_stands_on_one_line() -> None:
    job = Job("x.ipynb", {"rate": 0.5, "word": "w"}, id="a")
    progress = Progress(4, 2, ["rate"], kept=1, done=1, failed=1, running=[job], best=(job.parameters, 0.25))
    line = SweepLines().state(progress)
    assert line.startswith("3 of 4 runs over, 1 failed, 1 running, about 0 s") and line.endswith("best so far 0.2500 with rate 0.5")
