"""etcd's write-ahead log: what this member has received counts as committed.

A member that loses the others may have the last writes in its log without knowing that a majority has them,
which the next message would tell it. `etcd --force-new-cluster` drops what is not known to be committed,
though clients got their answers. Therefore its log is continued by one record that says that all of it is.

The format is the same in etcd 3.0 to 3.6: files of frames (8 bytes of length, a record in protobuf, zeros up
to a multiple of 8), each record with the CRC-32C of all data so far.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_ENTRY, _STATE = 2, 3
# The field of an entry with its index, and that of a state with the index of what is committed.
_INDEX = _COMMIT = 3
_LENGTH = struct.Struct("<Q")
# The upper byte of a length: whether zeros follow, and how many.
_PADDED, _LENGTH_BITS = 0x80, 56
_LARGEST_RECORD = 1 << 30
_CASTAGNOLI = 0x82F63B78


class _Tail:
    """What the records of one file end with."""

    def __init__(self, path: str) -> None:
        # The place behind the last record, its data, and the CRC before and after it.
        self.end = self.before = self.crc = 0
        self.data = b""
        self.state: dict[int, int] = {}
        self.last_entry = 0
        with open(path, "rb") as file:
            for self.end, kind, crc, self.data in _records(file):
                self.before, self.crc = self.crc, crc
                if kind == _STATE:
                    self.state = _parse(self.data)[0]
                elif kind == _ENTRY:
                    self.last_entry = _parse(self.data)[0].get(_INDEX, 0)

    @property
    def is_whole(self) -> bool:
        return bool(self.state) and crc32c(self.before, self.data) == self.crc


def commit_all(folder: str) -> int:
    """Continues the log in this folder; returns how many entries were not known to be committed.

    Nothing is changed when the end of the log is not as etcd writes it: etcd decides what to do then.
    """
    paths = [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.endswith(".wal")]
    if not paths:
        return 0
    tail = _Tail(paths[-1])
    # A file that was begun just now has no entry yet.
    tails = (tail, *(_Tail(path) for path in reversed(paths[:-1])))
    last_entry = next((each.last_entry for each in tails if each.last_entry), 0)
    committed = tail.state.get(_COMMIT, 0)
    if not tail.is_whole or last_entry <= committed:
        return 0
    with open(paths[-1], "r+b") as file:
        file.seek(tail.end)
        file.write(_frame(_STATE, tail.crc, _message(tail.state | {_COMMIT: last_entry})))
        # Zeros behind it, and no rest of a record that was torn.
        size = max(os.path.getsize(file.name), file.tell())
        file.truncate()
        file.truncate(size)
    return last_entry - committed


def _records(file: BinaryIO) -> Iterator[tuple[int, int, int, bytes]]:
    """The records of a file: the place behind each, its type, CRC and data. Up to zeros, or what is torn."""
    place = 0
    while len(header := file.read(_LENGTH.size)) == _LENGTH.size:
        (field,) = _LENGTH.unpack(header)
        length, upper = field & ((1 << _LENGTH_BITS) - 1), field >> _LENGTH_BITS
        whole = length + (upper & 7 if upper & _PADDED else 0)
        if not 0 < length <= _LARGEST_RECORD or len(content := file.read(whole)) < whole:
            return
        place += _LENGTH.size + whole
        fields, data = _parse(content[:length])
        yield place, fields.get(1, 0), fields.get(2, 0), data


def _parse(message: bytes) -> tuple[dict[int, int], bytes]:
    """The numbers in a message of protobuf by field, and the content of its last field if that has bytes."""
    numbers: dict[int, int] = {}
    data = b""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value, place = _varint(message, place)
        if tag & 7 == 0:
            numbers[tag >> 3] = value
        elif tag & 7 == 2:
            data = message[place : place + value]
            place += value
        else:
            break
    return numbers, data


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at this place, and the place behind it."""
    value = 0
    for number, byte in enumerate(message[place : place + 10], 1):
        value |= (byte & 0x7F) << 7 * (number - 1)
        if byte < 0x80:
            return value, place + number
    return value, len(message)


def _frame(kind: int, before: int, data: bytes) -> bytes:
    record = _message({1: kind, 2: crc32c(before, data)}) + b"\x1a" + _number(len(data)) + data
    padding = -len(record) % 8
    upper = (_PADDED | padding) << _LENGTH_BITS if padding else 0
    return _LENGTH.pack(upper | len(record)) + record + bytes(padding)


def _message(numbers: dict[int, int]) -> bytes:
    return b"".join(_number(field << 3) + _number(value) for field, value in sorted(numbers.items()))


def _number(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def crc32c(before: int, data: bytes) -> int:
    """The CRC-32C (Castagnoli) of what had the CRC `before`, continued by `data`."""
    crc = before ^ 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    found = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
        found.append(crc)
    return found


_TABLE = _table()
