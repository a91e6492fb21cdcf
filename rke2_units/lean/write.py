"""Files that are whole or not there: written under another name, and renamed.

Whoever reads a path finds the old file or the new one, also when the writer is killed or the machine loses
power.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter


@contextmanager
def stage(
    temporary: str, mode: int, *, owner: tuple[int, int] | None = None, on_disk: bool = True
) -> Iterator[BufferedWriter]:
    """A new file to write to, which replaces what an earlier run has left; an error removes it.

    Nobody but its owner can open it before it has its mode. `owner` is a user and a group by number, None
    the caller. `on_disk`: it survives a power failure as soon as this ends.
    """
    # A link or a FIFO that somebody else has put there would be written to.
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(temporary, "xb", opener=_private) as file:
            yield file
            file.flush()
            if owner:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            if on_disk:
                os.fsync(file.fileno())
    except BaseException:
        discard(temporary)
        raise


@contextmanager
def replace(
    path: str,
    mode: int,
    *,
    temporary: str = "",
    owner: tuple[int, int] | None = None,
    on_disk: bool = True,
) -> Iterator[BufferedWriter]:
    """A file to write to, which takes the place of PATH when the block has ended without an error.

    `temporary` is its name until then, in the same file system; else PATH.new. The rest is as in `stage`.
    """
    temporary = temporary or f"{path}.new"
    with stage(temporary, mode, owner=owner, on_disk=on_disk) as file:
        yield file
    try:
        os.rename(temporary, path)
    except BaseException:
        discard(temporary)
        raise


def discard(temporary: str) -> None:
    """Removes the file if it can: another error is reported already."""
    with suppress(OSError):
        os.unlink(temporary)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
