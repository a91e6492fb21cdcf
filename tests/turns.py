"""Whose turn it is: which tests on nodes run at once when several processes run them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Not tests.nodes' own folder: unit tests take turns too, and do not load what makes nodes.
_DIRECTORY = Path("/run/rke2-units-tests/turns")


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Wait for one's turn, beside others or alone, and hold it.

    flock lets readers in while a writer waits, so that others could keep it waiting: who waits holds
    the door, and nobody passes it.
    """
    _DIRECTORY.mkdir(parents=True, exist_ok=True)
    with _locked(_DIRECTORY / "door", fcntl.LOCK_EX):
        room = _lock(_DIRECTORY / "turn", fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(room)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    lock = _lock(path, how)
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path, how: int) -> int:
    """The open file that holds the lock until it is closed."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(lock, how)
    return lock
