"""How busy the processor is with other programs, and when this process has come to rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

LOOK_SECONDS = 0.05  # over which the processor time of this process is measured; the clocks have steps of 10 ms
AT_REST = 0.3  # of a core: less is what a thread that looks now and then takes


class OtherPrograms:
    """The processor time of all programs except this one and its children.

    Programs that cannot be seen (other containers, other users on some systems) are not counted, nor those that ended meanwhile.
    """

    def __init__(self) -> None:
        self._own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        self._seconds: dict[int, float] = {}
        self.lap()

    def lap(self) -> list[tuple[float, str]]:
        """Seconds of processor time since the last call and the name of each program, the busiest first."""
        taken = []
        for process in psutil.process_iter():
            if process.pid in self._own:
                continue
            try:
                times = process.cpu_times()
                seconds = times.user + times.system
                before = self._seconds.get(process.pid, seconds)
                self._seconds[process.pid] = seconds
                if seconds > before:
                    taken.append((seconds - before, process.name()))
            except psutil.Error:
                continue
        return sorted(taken, reverse=True)


def wait_for_rest(seconds: float = 3.0, used: Callable[[], float] = time.process_time) -> bool:
    """Wait until this process uses next to no processor time: the threads of a library can spin for a while after their last work.

    seconds  to wait at most
    used     processor time of this process so far, in seconds

    Returns whether it has come to rest.
    """
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        before, start = used(), time.perf_counter()
        time.sleep(LOOK_SECONDS)
        if used() - before < AT_REST * (time.perf_counter() - start):
            return True
    return False
