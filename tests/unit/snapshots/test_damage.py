import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.snapshots import damage
from tests.unit.snapshots.snapshot_node import database


def archive(content: bytes, *, kind: int = zipfile.ZIP_DEFLATED, entries: int = 1) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as written:
        for number in range(entries):
            written.writestr(f"snapshot-{number}", content)
    return file.getvalue()


WHOLE = database()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a", WHOLE, ""),
        ("a", b"", "empty"),
        ("a", WHOLE[:-1], "SHA-256"),
        ("a", WHOLE[:-32], "SHA-256"),
        ("a", b"x" * (1024 + 32), "no database"),
        ("a", b"x" * 32, "no database"),
        ("a.zip", archive(WHOLE), ""),
        ("a.zip", archive(WHOLE, kind=zipfile.ZIP_STORED), ""),
        ("a.zip", archive(WHOLE)[:-5], "zip archive"),
        ("a.zip", b"", "zip archive"),
        ("a.zip", archive(WHOLE, entries=2), "2 files"),
        ("a.zip", archive(WHOLE, entries=0), "0 files"),
        ("a.zip", archive(WHOLE, kind=zipfile.ZIP_BZIP2), "Deflate"),
        ("a.zip", archive(b""), "empty"),
        ("a.zip", archive(WHOLE[:-32]), "SHA-256"),
        ("a.zip", archive(b"x" * 1056), "no database"),
        ("a.zip", WHOLE, "zip archive"),
    ],
)
def test_what_cannot_be_a_snapshot_is_seen(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = damage.find(str(tmp_path / name))
    assert words in found and bool(words) == bool(found)


def test_a_link_and_a_pipe_are_not_followed_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(WHOLE)
    os.symlink("whole", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        damage.find(str(tmp_path / "link"))
    assert damage.find(str(tmp_path / "pipe")) == "it is empty"


ARCHIVE = archive(WHOLE[:1024] + bytes(32))


@settings(deadline=None)
@given(
    st.integers(0, len(ARCHIVE)),
    st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), max_size=4),
)
def test_whatever_a_disk_makes_of_an_archive_is_told_and_no_error(
    tmp_path_factory: pytest.TempPathFactory, end: int, bytes_changed: list[tuple[int, int]]
) -> None:
    content = bytearray(ARCHIVE)
    for place, byte in bytes_changed:
        content[place] = byte
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    path.write_bytes(content[:end])
    assert isinstance(damage.find(str(path)), str)
