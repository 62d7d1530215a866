"""A full disk is recognized in whatever way a library reports it, and explained."""

import errno

import pytest

from nbtools.errors import MachineError
from nbtools.storage import explain_full_disk, says_disk_full

FULL = MachineError("The disk is full.", "Free some space.")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "any words"),
        OSError(errno.EDQUOT, "any words"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),  # torch.save
        RuntimeError("basic_ios::clear: iostream error"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    ],
    ids=repr,
)
def test_a_full_disk_is_explained(error):
    with pytest.raises(MachineError) as caught, explain_full_disk(FULL):
        raise error
    assert caught.value is FULL and caught.value.__cause__ is error


def test_other_errors_pass_unchanged():
    for error in (OSError(errno.EACCES, "Permission denied"), ValueError("no such value"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, explain_full_disk(FULL):
            raise error
        assert caught.value is error


def test_what_pip_prints_about_a_full_disk():
    assert says_disk_full("OSError: [Errno 28] No space left on device") and not says_disk_full("Retrying (")
