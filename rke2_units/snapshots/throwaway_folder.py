"""The folder in which a snapshot is restored only to be looked at; nothing of it stays, whatever happens."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units.errors import UserError
from rke2_units.snapshots import names, restore

# Etcd makes two files of 64 MiB for its log; some more for everything that is small.
_LOG = 160 << 20
# This part of the file system stays free: live etcd is on it, and the kubelet evicts pods below 5 %.
_RESERVE = 0.06
_MIB = 1 << 20


class NoRoom(UserError):
    """The disk is too full, which says nothing about the snapshot."""


@contextmanager
def held(path: str) -> Iterator[str]:
    """An empty folder for the caller alone, which is emptied in the end, or by the next one after a kill.

    UserError while another process has it.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another snapshot is being verified", hint="try again when that is done"
            ) from None
        _empty(path)
        try:
            yield path
        finally:
            _empty(path)
    finally:
        os.close(lock)


def require_space(folder: str, snapshot: str) -> None:
    """NoRoom when this snapshot cannot be restored into the folder without filling its file system."""
    # What is compressed is written twice: unpacked, and restored.
    needed = _LOG + restore.size(snapshot) * (2 if snapshot.endswith(names.ZIP) else 1)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize - int(_RESERVE * status.f_blocks * status.f_frsize)
    if needed > free:
        raise NoRoom(
            f"{folder}: {os.path.basename(snapshot)} needs {needed // _MIB} MiB to be verified,"
            f" and {max(0, free) // _MIB} MiB can be used there",
            hint=f"{_RESERVE:.0%} of the file system stays free, as the kubelet evicts pods below 5 %",
        )


def _empty(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
