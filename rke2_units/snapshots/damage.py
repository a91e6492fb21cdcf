"""Whether a file can be a snapshot of etcd at all: by its form, which costs next to nothing to look at.

That its content is whole is known after its SHA-256 was computed, which restoring and verifying do.
"""

import os
import zipfile
import zlib
from typing import IO

from rke2_units.snapshots import names
from rke2_units.snapshots.snapshot import Snapshot

# A database consists of pages, whose sizes are multiples of 512; its SHA-256 follows (etcd's own rule).
_PAGE, _HASH = 512, 32
# Of the first page of bbolt's file: the magic number of the page's content, after the page's header.
_MAGIC, _AT = b"\xed\xda\x0c\xed", 16


def has_form(snapshot: Snapshot) -> bool:
    """Whether it can be a good one, as far as that is known without its content."""
    if snapshot.error or snapshot.size <= 0:
        return False
    return snapshot.name.endswith(names.ZIP) or snapshot.size % _PAGE == _HASH


def find(path: str) -> str:
    """What is wrong with the snapshot, compressed when its name says so; "" for nothing. OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return (
            _of_zip(file) if path.endswith(names.ZIP) else of_database(file, os.fstat(file.fileno()).st_size)
        )


def of_database(file: IO[bytes], size: int) -> str:
    """The same for an open file of this size, which is uncompressed."""
    if size == 0:
        return "it is empty"
    if size % _PAGE != _HASH:
        return "it ends without etcd's SHA-256"
    head = file.read(_AT + len(_MAGIC))
    return "" if head[_AT:] == _MAGIC else "it is no database of etcd"


def _of_zip(file: IO[bytes]) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) != 1:
                return f"it holds {len(entries)} files in place of one"
            if entries[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                return "its compression is neither Deflate nor none"
            with archive.open(entries[0]) as content:
                return of_database(content, entries[0].file_size)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError):
        return "it is no complete zip archive"
