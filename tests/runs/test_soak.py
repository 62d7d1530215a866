"""Two hundred short runs, while something is killed again and again: the sweep itself, or a kernel."""

import json
import random
import signal
import time

import psutil
import pytest

from nbtools.runs import RunStore
from nbtools.runs.store import read_status
from tests.runs.small_sweeps import begun, start_sweep
from tests.runs.test_faults import check_whole, family, plan_of, wait_until_gone

RUNS = 200
VICTIMS = ("sweep", "ipykernel_launcher")
SEED = 20  # of who is killed, and when


@pytest.mark.long
def test_two_hundred_runs_survive_random_kills(tmp_path):
    dice = random.Random(SEED)
    asked = plan_of(tmp_path, "import time; time.sleep(0.2)", count=RUNS)
    kills = dict.fromkeys(VICTIMS, 0)
    starts, code = 0, None
    seen_done: set[str] = set()
    while code != 0:
        assert starts < RUNS, f"no end after {starts} starts"
        starts += 1
        with start_sweep(tmp_path, asked, "--workers", "2") as sweep:
            while (code := sweep.process.poll()) is None:
                time.sleep(dice.uniform(2, 12))
                victim = dice.choice(VICTIMS)
                try:
                    processes = [psutil.Process(sweep.process.pid)] if victim == "sweep" else family(sweep.process.pid, victim)
                    if processes:
                        dice.choice(processes).send_signal(signal.SIGKILL)
                        kills[victim] += 1
                except psutil.NoSuchProcess:
                    continue  # it ended meanwhile
            assert code in (0, 1, -signal.SIGKILL), sweep.output()
            assert "Traceback" not in sweep.output(), sweep.output()
        done = set(sweep.done())
        assert seen_done <= done, "a run that was done is not any more"
        seen_done = done
        wait_until_gone(str(tmp_path / "out"))
    check_whole(tmp_path, RUNS)
    runs = begun(tmp_path)
    lost = len(runs) - RUNS
    assert min(kills.values()) >= 3, kills
    assert 0 <= lost <= kills["ipykernel_launcher"] + 2 * kills["sweep"]
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    attempts = [read_status(RunStore(tmp_path / "out").folder_of(run["id"]))["attempt"] for run in record["runs"]]
    print(f"{RUNS} runs, {starts} starts, kills {kills}, {lost} tries lost, {sum(one > 1 for one in attempts)} runs tried again at once")
