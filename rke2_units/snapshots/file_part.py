"""A part of a file, to be uploaded: read piece by piece, so that a part of any size takes no memory."""

import os
from io import BufferedReader

from rke2_units.snapshots.limit import Limit


class FilePart:
    """A file object for libraries, which read it, and may rewind it to send it again."""

    def __init__(self, file: BufferedReader, start: int, size: int, limit: Limit) -> None:
        self._descriptor = file.fileno()
        self._start = start
        self._size = size
        self._limit = limit
        self._position = 0

    def read(self, amount: int | None = None) -> bytes:
        self._limit.check()
        left = self._size - self._position
        wanted = left if amount is None or amount < 0 else min(amount, left)
        # The position of the open file is that of all its parts.
        content = os.pread(self._descriptor, wanted, self._start + self._position)
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position
