"""etcd's write-ahead log, continued so that all that was received is committed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.node.cluster_reset.write_ahead_log import commit_all, crc32c

METADATA, ENTRY, STATE, CRC = 1, 2, 3, 4
FIRST = "0000000000000000-0000000000000000.wal"
SECOND = "0000000000000001-0000000000000009.wal"


def varint(value: int) -> bytes:
    head, last = divmod(value, 128)
    return bytes([last]) if not head else bytes([last | 128]) + varint(head)


def entry(index: int, data: bytes = b"x" * 300) -> bytes:
    return b"\x08\0\x10\x02\x18" + varint(index) + b"\x22" + varint(len(data)) + data


def state(term: int, commit: int) -> bytes:
    return b"\x08" + varint(term) + b"\x10\x07\x18" + varint(commit)


class Log:
    """A file as etcd writes it: frames, then the zeros that it was made with."""

    def __init__(self, crc: int = 0) -> None:
        self.crc = crc
        self.content = b""
        self.add(CRC, None)

    def add(self, kind: int, data: bytes | None) -> "Log":
        self.crc = crc32c(self.crc, data or b"")
        record = b"\x08" + varint(kind) + b"\x10" + varint(self.crc)
        record += b"" if data is None else b"\x1a" + varint(len(data)) + data
        padding = -len(record) % 8
        upper = 0x80 | padding if padding else 0
        self.content += (len(record) | upper << 56).to_bytes(8, "little") + record + bytes(padding)
        return self


def write(folder: Path, **logs: Log) -> None:
    for name, log in logs.items():
        (folder / {"first": FIRST, "second": SECOND}[name]).write_bytes(log.content + bytes(4096))


def test_the_crc_is_castagnolis() -> None:
    # RFC 3720, B.4.
    assert crc32c(0, bytes(32)) == 0x8A9136AA
    assert crc32c(0, bytes(range(32))) == 0x46DD794E
    assert crc32c(crc32c(0, b"ab"), b"cd") == crc32c(0, b"abcd")


def begun() -> Log:
    return Log().add(METADATA, b"\x08\x05").add(ENTRY, entry(5)).add(STATE, state(2, 5))


def test_what_was_received_last_is_committed(tmp_path: Path) -> None:
    log = begun().add(ENTRY, entry(6)).add(ENTRY, entry(7))
    write(tmp_path, first=log)
    assert commit_all(str(tmp_path)) == 2
    # Term and vote stay.
    expected = log.add(STATE, state(2, 7)).content
    assert (tmp_path / FIRST).read_bytes()[: len(expected) + 8] == expected + bytes(8)
    assert commit_all(str(tmp_path)) == 0
    assert (tmp_path / FIRST).read_bytes()[: len(expected) + 8] == expected + bytes(8)


def test_entries_may_be_in_the_file_before(tmp_path: Path) -> None:
    first = begun().add(ENTRY, entry(6))
    second = Log(first.crc).add(METADATA, b"\x08\x05").add(STATE, state(300, 5))
    write(tmp_path, first=first, second=second)
    assert commit_all(str(tmp_path)) == 1
    expected = second.add(STATE, state(300, 6)).content
    assert (tmp_path / SECOND).read_bytes()[: len(expected)] == expected


def test_an_entry_that_was_replaced_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, first=begun().add(ENTRY, entry(6)).add(ENTRY, entry(7)).add(ENTRY, entry(6)))
    assert commit_all(str(tmp_path)) == 1


@pytest.mark.parametrize("cut", [1, 7, 100, 310])
def test_a_log_that_is_torn_counts_up_to_there(tmp_path: Path, cut: int) -> None:
    log = begun().add(ENTRY, entry(6))
    whole = len(log.content)
    torn = log.add(ENTRY, entry(7)).content
    (tmp_path / FIRST).write_bytes(torn[: len(torn) - cut])
    assert commit_all(str(tmp_path)) == 1
    found = (tmp_path / FIRST).read_bytes()
    assert found[:whole] == torn[:whole]
    assert len(found) >= len(torn) - cut and found.rstrip(b"\0")[whole + 30 :] == b""


def test_a_log_whose_end_is_damaged_is_left_to_etcd(tmp_path: Path) -> None:
    log = begun().add(ENTRY, entry(6))
    damaged = bytearray(log.content)
    damaged[-20] ^= 1
    (tmp_path / FIRST).write_bytes(damaged)
    assert commit_all(str(tmp_path)) == 0
    assert (tmp_path / FIRST).read_bytes() == damaged


@pytest.mark.parametrize("log", [Log(), begun(), Log().add(METADATA, b"\x08\x05").add(ENTRY, entry(6))])
def test_a_log_without_anything_to_commit_stays_as_it_is(tmp_path: Path, log: Log) -> None:
    write(tmp_path, first=log)
    assert commit_all(str(tmp_path)) == 0
    assert (tmp_path / FIRST).read_bytes() == log.content + bytes(4096)


def test_a_folder_without_a_log_is_none(tmp_path: Path) -> None:
    assert commit_all(str(tmp_path)) == 0


@given(st.binary(max_size=300))
def test_whatever_is_in_the_file_nothing_breaks(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("wal")
    (folder / FIRST).write_bytes(begun().content + content)
    commit_all(str(folder))
    assert (folder / FIRST).read_bytes().startswith(begun().content)
