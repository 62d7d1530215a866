"""What a person sees of a plan: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import random
import time
from itertools import accumulate, pairwise
from typing import Any

import pytest
from rich.console import Console

from nbtools.notebooks import forecast, read_costs
from nbtools.runs import CourseLines, Execution, Failure, Job, Progress, RunDisplay, SweepLines, display, scheduler

DONE = {"state": "done", "seconds": 75.0, "peak_memory_bytes": 1.5e9, "value": 0.25}
FAILED = {**DONE, "state": "failed", "failure": Failure("error", 2, 3, "1 / 0", ["ZeroDivisionError"]).record()}


def at_work(job: Job, **more: Any) -> Progress:
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
    assert lines[1] == "    [1/2] 01_next  cell 2 of 3, 10 s so far, time left not known"
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


def shown_totals(slower: float, seed: int) -> tuple[list[tuple[float, float]], float]:
    """Each second of a run of the recorded notebooks: the share of the time that is over and the total shown (elapsed + left, in seconds);
    and the real total. Each notebook takes `slower` times as long as recorded, +-30 %.
    """
    draws, lines, shown, before = random.Random(seed), CourseLines(), [], 0.0
    records = read_costs()
    jobs = [Job(f"/x/{name}.ipynb", {}, id=name, store="/nowhere") for name in records]
    for done, job in enumerate(jobs):
        record, factor = records[job.name], slower * draws.uniform(0.7, 1.3)
        cells = record["cell_seconds"]
        ends = [factor * end for end in accumulate(cells, initial=record["seconds"] - sum(cells))]
        for second in range(int(ends[-1])):
            execution = Execution(job.name, sum(end <= second for end in ends), len(cells), seconds=float(second))
            progress = Progress(len(jobs), 1, due=jobs, done=done, running=[job], executions={job.id: execution})
            _, about, rest = lines.state(progress).partition("about ")
            if about:
                number, unit = rest.removesuffix(" left in all").split(" ")
                left = float(number) * {"s": 1, "minutes": 60, "hours": 3600}[unit]
                shown.append((before + second, before + second + left))
        lines.result(job, {"seconds": ends[-1], "peak_memory_bytes": 0}, progress)
        before += ends[-1]
    return [(elapsed / before, total) for elapsed, total in shown], before


def test_from_the_first_cell_on_there_is_a_rough_time_left() -> None:
    jobs = [Job(f"/x/{name}.ipynb", {}, id=name, store="/nowhere") for name in read_costs()]
    cells = len(read_costs()[jobs[0].name]["cell_seconds"])
    execution = Execution(jobs[0].name, 1, cells, seconds=1.0)
    line = CourseLines().state(Progress(len(jobs), 1, due=jobs, running=jobs[:1], executions={jobs[0].id: execution}))
    assert "so far, very roughly" in line and line.endswith("minutes left in all")


@pytest.mark.parametrize("slower", [1.0, 2.5])
def test_the_time_left_converges_on_a_fast_and_on_a_slow_machine(slower: float) -> None:
    for seed in range(4):
        shown, took = shown_totals(slower, seed)
        late = [total for over, total in shown if over >= 0.3]
        assert len(late) > 0.6 * took, "it is shown all the time, except while a kernel starts"
        assert 0.75 * took < min(late) and max(late) < 1.25 * took
        assert max(later / earlier for earlier, later in pairwise(late)) < 1.1


def test_the_time_left_does_not_jump_where_one_notebook_takes_far_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest cell takes ten times as long as recorded: the total grows with the clock, and stays where it is when the cell ends."""
    cells = [1.0, 60.0, 2.0]
    records = {name: {"seconds": 65.0, "cell_seconds": cells} for name in ("first", "second", "long", "last")}
    monkeypatch.setattr(forecast, "read_costs", lambda: records)
    lines = CourseLines()
    jobs = [Job(f"/x/{name}.ipynb", {}, id=name, store="/nowhere") for name in records]
    for job in jobs[:2]:
        execution = Execution(job.name, 1, len(cells), seconds=1.0)
        progress = Progress(len(jobs), 1, due=jobs, running=[job], executions={job.id: execution})
        lines.state(progress)
        lines.result(job, {"seconds": 65.0, "peak_memory_bytes": 0}, progress)
    assert lines.forecast is not None
    totals = []
    for second in range(601):
        left = lines.forecast.left("long", 2 + (second == 600), len(cells), 3.0 + second)
        assert left is not None
        totals.append(second + left)
    assert totals == sorted(totals) and totals[-1] > 600 and max(later / earlier for earlier, later in pairwise(totals)) < 1.02


def test_the_time_left_of_a_sweep_is_estimated_from_the_mean_time_of_a_run() -> None:
    progress = Progress(10, workers=2, kept=2, done=3, failed=1, taken=16.0)
    assert progress.left == 4 and progress.seconds_left == pytest.approx(8)
    assert Progress(10, workers=2).seconds_left is None
    progress.begun = {"a": time.monotonic() - 3}
    assert progress.seconds_left == pytest.approx(8, abs=0.5)  # the worker that is free takes two of the other three


@pytest.mark.parametrize("workers", [1, 3])
def test_the_time_left_of_a_sweep_rose_until_the_next_run_ended(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """With 20 runs of about a minute, it doubled between the first end and the second."""
    clock, draws = [0.0], random.Random(0)
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: clock[0])
    jobs = [Job("x.ipynb", {}, id=str(number)) for number in range(20)]
    lasts = {job.id: draws.uniform(42, 78) for job in jobs}
    progress, due = Progress(len(jobs), workers), list(jobs)
    running: list[Job] = []
    totals: list[tuple[float, float]] = []
    while due or running:
        for job in [job for job in running if clock[0] - progress.begun[job.id] >= lasts[job.id]]:
            running.remove(job)
            progress.note_end(job, failed=False)
        while due and len(running) < workers:
            running.append(due.pop(0))
        progress.note_running(running)
        if (left := progress.seconds_left) is not None:
            totals.append((clock[0], clock[0] + left))
        clock[0] += 1
    took = totals[-1][0]
    late = [total for over, total in totals if over >= 0.3 * took]
    assert 0.75 * took < min(late) and max(late) < 1.25 * took
    assert max(later / earlier for earlier, later in pairwise(late)) < 1.05
