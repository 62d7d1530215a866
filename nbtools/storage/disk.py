"""Errors of a full disk: recognize them, and replace them by one that says what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from nbtools.errors import CourseError

CODES = (errno.ENOSPC, errno.EDQUOT)
# Libraries that write through C++ or Rust raise errors without an errno: torch ("iostream error", "inline_container") and safetensors
# ("os error 28"). pip prints "Errno 28".
WORDS = (f"os error {errno.ENOSPC}", f"Errno {errno.ENOSPC}", "iostream error", "inline_container", *(os.strerror(code) for code in CODES))


def says_disk_full(text: str) -> bool:
    """Whether the message of an error, or what a program printed, means that the disk or the user's quota on it is full."""
    return any(words in text for words in WORDS)


@contextmanager
def explain_full_disk(explanation: CourseError) -> Iterator[None]:
    """Raise `explanation` in place of any error in this context that means a full disk."""
    try:
        yield
    except Exception as error:  # safetensors raises SafetensorError and torch RuntimeError, not OSError
        if getattr(error, "errno", None) in CODES or says_disk_full(str(error)):
            raise explanation from error
        raise
