"""One at a time: a lock on a file, which the kernel takes back from a process that ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units.errors import UserError

_PAUSE = 0.2


class Locked(UserError):
    """Another process holds the lock."""


@contextmanager
def held(path: str, patience: float = 0.0) -> Iterator[None]:
    """Holds the lock on the file; Locked when another process still has it after `patience` seconds."""
    end = time.monotonic() + patience
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while not _taken(descriptor):
            if time.monotonic() >= end:
                raise Locked(f"another process holds the lock {path}")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
