"""Locks between processes: refused, waited for, and released when their holder ends."""

import subprocess
import sys
from contextlib import contextmanager

import pytest

from nbtools.errors import RunError
from nbtools.storage import hold_lock, is_locked, locks, wait_for_lock

HOLDER = (
    "import sys\nfrom filelock import FileLock\nlock = FileLock(sys.argv[1])\nlock.acquire()\nprint('held', flush=True)\nsys.stdin.read()"
)


@contextmanager
def other_process(path):
    """Another process that holds the lock file `path`."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_of_another_process_is_refused_in_words(tmp_path):
    path = tmp_path / "new" / ".lock"
    with hold_lock(path, "", ""):
        assert path.is_file()
    with other_process(path), pytest.raises(RunError, match="busy"), hold_lock(path, "It is busy.", "Wait."):
        pass
    with hold_lock(path, "", ""):  # the process was killed, so its lock is free
        pass


def test_a_lock_of_another_process_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)
    with other_process(tmp_path / ".lock") as process:
        waits = []

        def waiting():
            waits.append(is_locked(tmp_path / ".lock"))
            if len(waits) == 3:
                process.kill()
                process.wait()

        with wait_for_lock(tmp_path / ".lock", waiting):
            assert waits == [True] * 3


def test_a_wait_ends_with_what_is_raised_meanwhile(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with other_process(tmp_path / ".lock"), pytest.raises(KeyboardInterrupt), wait_for_lock(tmp_path / ".lock", stop):
        pass


def test_a_question_about_a_lock_creates_nothing(tmp_path):
    assert not is_locked(tmp_path / ".lock") and list(tmp_path.iterdir()) == []
    with hold_lock(tmp_path / ".lock", "", ""):
        pass
    assert not is_locked(tmp_path / ".lock")
