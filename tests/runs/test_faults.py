"""What goes wrong with a sweep, really done: real processes, killed by real signals; a real small disk; a clock that really jumps.

After each fault, and a resume where one is needed: every run is done exactly once, nothing half-written passes for done, and no process
is left over.
"""

import json
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from nbtools.runs import RunStore
from nbtools.runs.store import read_status
from tests.gate import HANG_SECONDS
from tests.runs.small_notebooks import processes_with
from tests.runs.small_sweeps import begun, start_sweep, write_tiny

pytestmark = pytest.mark.slow(20)

SHORT_SLEEP = "import time; time.sleep(1.5)"


def plan_of(tmp_path, *between, count=4, **more):
    return {"notebook": str(write_tiny(tmp_path / "nb", *(between or [SHORT_SLEEP]))), "grid": {"size": list(range(1, count + 1))}, **more}


def family(pid, name):
    """The processes under `pid` whose command line holds `name`."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if any(name in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def finish(tmp_path, asked, *options, count=4):
    """Run the sweep to its end; then everything is as it must be."""
    with start_sweep(tmp_path, asked, *options) as last:
        code = last.process.wait(HANG_SECONDS)
        assert code == 0, last.output()
        check_whole(tmp_path, count)
        return last.output()


def check_whole(tmp_path, count):
    folder = tmp_path / "out"
    record = json.loads((folder / "sweep.json").read_text())
    assert len(record["runs"]) == count
    for run in record["runs"]:
        status = read_status(RunStore(folder).folder_of(run["id"]))
        assert status["state"] == "done" and status["parameters"] == run["parameters"]
        metrics = json.loads((RunStore(folder).folder_of(run["id"]) / "metrics.json").read_text())
        assert metrics["after"]["validation"]["bits_per_byte"] == status["value"]
    names = {one.name for one in (folder / "runs").iterdir() if not one.name.startswith(".")}
    assert {run["id"] for run in record["runs"]} <= names and not any(name.endswith((".part", ".old")) for name in names)
    wait_until_gone(str(folder))


def wait_until_gone(mark):
    """A kernel whose parent was killed sees it within seconds, and goes by itself."""
    deadline = time.monotonic() + HANG_SECONDS
    while left := processes_with(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_a_killed_kernel_costs_that_try_only(tmp_path):
    asked = plan_of(tmp_path, "import time; time.sleep(5)")
    with start_sweep(tmp_path, asked, "--workers", "2") as sweep:
        sweep.wait_for(lambda: len(begun(tmp_path)) >= 2)
        for process in family(sweep.process.pid, "ipykernel_launcher"):
            process.send_signal(signal.SIGKILL)
        assert sweep.process.wait(HANG_SECONDS) == 0, sweep.output()
    check_whole(tmp_path, 4)
    assert len(begun(tmp_path)) in {5, 6}  # one or two tries were lost


def test_a_killed_sweep_goes_on_and_what_was_done_is_not_made_again(tmp_path):
    asked = plan_of(tmp_path)
    with start_sweep(tmp_path, asked, "--workers", "2") as sweep:
        sweep.wait_for(lambda: len(sweep.done()) >= 1 and len(begun(tmp_path)) >= 3)
        sweep.process.send_signal(signal.SIGKILL)
        sweep.process.wait()
        wait_until_gone(str(tmp_path / "out"))
        done = sweep.done()
    assert 1 <= len(done) < 4
    assert f"{len(done)} of 4 runs are over already" in finish(tmp_path, asked)
    assert all(begun(tmp_path).count(run) == 1 for run in done)


def test_a_killed_sweep_takes_along_what_its_notebooks_have_started(tmp_path):
    """A training in several processes, say: one in the kernel's process group, and one that has left it and does not listen."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    )
    starts = f"subprocess.Popen([sys.executable, '-c', {deaf!r}]"
    cell = f"import subprocess, sys, time\n{starts})\n{starts}, start_new_session=True)\nwhile True: time.sleep(0.1)"
    with start_sweep(tmp_path, plan_of(tmp_path, cell, count=1)) as sweep:
        sweep.wait_for(lambda: len(family(sweep.process.pid, "SIG_IGN")) == 2)
        sweep.process.send_signal(signal.SIGKILL)
        sweep.process.wait()
        wait_until_gone(str(tmp_path / "out"))


def test_a_notebook_that_raises_hangs_or_hogs_fails_alone(tmp_path):
    cell = (
        "import time\n"
        "if size == 1: raise ValueError('no')\n"
        "if size == 2: time.sleep(600)\n"
        "held = []\n"
        "while size == 3: held.append(bytearray(b'1' * 20_000_000)); time.sleep(0.02)\n"
        "if size == 4: (runs / 'metrics.json').write_text('{'); raise SystemExit"
    )
    asked = plan_of(tmp_path, cell, count=5, limits={"minutes": 0.15, "memory_gb": 0.5})
    with start_sweep(tmp_path, asked, "--workers", "2") as sweep:
        assert sweep.process.wait(HANG_SECONDS) == 1
        said = sweep.output()
    assert "4 of 5 runs failed" in said and "--retry-failed" in said
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    kinds = []
    for run in record["runs"]:
        status = read_status(RunStore(tmp_path / "out").folder_of(run["id"]))
        kinds.append(status["failure"]["kind"] if status["state"] == "failed" else "done")
    assert kinds[:3] + kinds[4:] == ["error", "time", "memory", "done"] and kinds[3] in {"metrics", "error"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "ValueError: no" in page and "ran past its time limit" in page and "more memory than its limit" in page
    wait_until_gone(str(tmp_path / "out"))


def test_a_status_that_was_cut_off_is_made_again_and_nothing_is_deleted(tmp_path):
    asked = plan_of(tmp_path, "pass")
    finish(tmp_path, asked)
    victim = RunStore(tmp_path / "out").folder_of(begun(tmp_path)[0])
    whole = (victim / "status.json").read_bytes()
    (victim / "status.json").write_bytes(whole[: len(whole) // 2])
    finish(tmp_path, asked)
    assert len(begun(tmp_path)) == 5 and (victim.with_name(f"{victim.name}-1") / "metrics.json").is_file()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB of its own."""
    place = tmp_path / "out"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_sweep_in_words_and_it_goes_on_once_there_is_room(tmp_path, small_disk):
    fill = "if size == 3: (runs / 'large').write_bytes(bytes(5_000_000))"
    hold = "import os\nif not os.environ.get('ROOM'):\n    " + fill
    asked = plan_of(tmp_path, hold)
    with start_sweep(tmp_path, asked) as sweep:
        assert sweep.process.wait(HANG_SECONDS) == 1
        said = sweep.output()
    assert "is full" in said and "Free some space" in said and "Traceback" not in said
    assert len(sweep.done()) == 2 and not list((small_disk / "runs").glob("*.part"))
    with start_sweep(tmp_path, asked, ROOM="1") as sweep:
        assert sweep.process.wait(HANG_SECONDS) == 0, sweep.output()
    check_whole(tmp_path, 4)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
// The wall clock, as many seconds off as the file CLOCK_FILE says; the clock that only counts up stays as it is.
static long off(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_FILE"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(which, now);
    if (which == CLOCK_REALTIME) now->tv_sec += off();
    return answer;
}
time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""
DAY = 86_400


def test_a_clock_that_jumps_harms_nothing(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the clock is moved for these processes alone by a library that a C compiler makes, on Linux")
    (tmp_path / "clock.c").write_text(CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "clock.c"), "-ldl"], check=True)
    clock = tmp_path / "clock"
    clock.write_text("0")
    future = time.time() + 1_000 * DAY
    asked = plan_of(tmp_path, f"import time\nwhile size == 1 and time.time() < {future}: time.sleep(0.1)", limits={"minutes": 60})
    with start_sweep(tmp_path, asked, "--workers", "2", LD_PRELOAD=str(library), CLOCK_FILE=str(clock)) as sweep:
        for done, days in ((0, 30), (1, -400), (2, 1_001)):
            sweep.wait_for(lambda done=done: len(sweep.done()) >= done and begun(tmp_path))
            clock.write_text(str(days * DAY))
        assert sweep.process.wait(HANG_SECONDS) == 0, sweep.output()
    check_whole(tmp_path, 4)
    statuses = [read_status(RunStore(tmp_path / "out").folder_of(run)) for run in begun(tmp_path)]
    assert len({status[end][:4] for status in statuses for end in ("started", "finished")}) > 1  # the clock did jump, by years
    assert all(0 < status["seconds"] < DAY for status in statuses)
