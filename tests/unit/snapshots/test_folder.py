import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.snapshots import folder
from rke2_units.snapshots.folder import Folder
from rke2_units.snapshots.snapshot import Snapshot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / ".metadata").mkdir()
    return tmp_path / "snapshots"


def test_complete_files_are_listed_the_oldest_first(path: Path) -> None:
    (path / "etcd-snapshot-n-1700000002.zip").write_bytes(b"12345")
    (path / "etcd-snapshot-n-1700000001").write_bytes(b"")
    (path / "by-hand.db").write_bytes(b"1")
    os.utime(path / "by-hand.db", (1700000000.9, 1700000000.9))
    (path.parent / ".metadata" / "by-hand.db").write_text('{"who": "me", "n": 3}')
    assert Folder(f"{path}/", "n").list() == [
        Snapshot("by-hand.db", "n", f"file://{path}/by-hand.db", 1, time(1700000000), {"who": "me"}),
        Snapshot(
            "etcd-snapshot-n-1700000001",
            "n",
            f"file://{path}/etcd-snapshot-n-1700000001",
            0,
            time(1700000001),
        ),
        Snapshot(
            "etcd-snapshot-n-1700000002.zip",
            "n",
            f"file://{path}/etcd-snapshot-n-1700000002.zip",
            5,
            time(1700000002),
        ),
    ]


def time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_what_is_no_complete_snapshot_is_not_listed_and_not_deleted(path: Path) -> None:
    (path / "good-1").write_bytes(b"x")
    for name in ("a-2.part", "b-3.part.part", "c-4.zip.part"):
        (path / name).write_bytes(b"x")
    os.symlink("good-1", path / "link-5")
    os.symlink("/etc/passwd", path / "link-6")
    os.symlink("nowhere", path / "link-7")
    os.mkfifo(path / "pipe-8")
    (path / "folder-9").mkdir()
    (path / "folder-9" / "good-1").write_bytes(b"x")
    with open(os.fsencode(path) + b"/undecodable-\xff-10", "wb"):
        pass
    (path / "two\nlines-11").write_bytes(b"x")
    before = sorted(os.listdir(path))
    found = Folder(str(path), "n")
    assert [one.name for one in found.list()] == ["good-1"]
    for name in ("a-2.part", "link-5", "pipe-8", "folder-9", "none"):
        assert not found.delete(name)
    assert sorted(os.listdir(path)) == before


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../snapshots/good-1", "/etc/passwd", "a/b", "a\0b", "a\nb"]
)
def test_a_name_leads_to_a_file_of_the_folder_alone(path: Path, name: str) -> None:
    (path / "good-1").write_bytes(b"x")
    with pytest.raises(UserError, match="invalid snapshot name"):
        Folder(str(path), "n").delete(name)
    assert (path / "good-1").exists()


def test_strange_names_of_files_are_names(path: Path) -> None:
    for name in ("ü ß-1", "-rf", "a'b\"c-2", "..."):
        (path / name).write_bytes(b"x")
    found = Folder(str(path), "n")
    assert {one.name for one in found.list()} == {"ü ß-1", "-rf", "a'b\"c-2", "..."}
    assert found.delete("-rf") and not found.delete("-rf")


@pytest.mark.parametrize("number", ["0", "253402300799", "253402300800", "9" * 18, "9" * 400, "1²"])
def test_whatever_number_a_name_ends_with_is_a_time_or_none(path: Path, number: str) -> None:
    name = f"s-n-{number}"[:200]
    (path / name).write_bytes(b"x")
    os.utime(path / name, (5, 5))
    [found] = Folder(str(path), "n").list()
    assert found.created == time(int(number) if number in ("0", "253402300799") else 5)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '"x"', "[" * 100_000, " " * (1 << 20) + "{}"])
def test_metadata_that_are_none_are_none(path: Path, content: str) -> None:
    (path / "s-1").write_bytes(b"x")
    (path.parent / ".metadata" / "s-1").write_text(content)
    assert Folder(str(path), "n").metadata("s-1") == {}
    assert len(Folder(str(path), "n").list()) == 1


def test_metadata_in_a_link_or_a_pipe_are_not_read(path: Path) -> None:
    (path.parent / "elsewhere").write_text('{"a": "b"}')
    os.symlink("../elsewhere", path.parent / ".metadata" / "s-1")
    os.mkfifo(path.parent / ".metadata" / "s-2")
    assert Folder(str(path), "n").metadata("s-1") == Folder(str(path), "n").metadata("s-2") == {}


def test_the_metadata_go_with_the_snapshot(path: Path) -> None:
    for name in ("s-1", "s-2"):
        (path / name).write_bytes(b"x")
        (path.parent / ".metadata" / name).write_text(json.dumps({"a": name}))
    assert Folder(str(path), "n").delete("s-1")
    assert os.listdir(path) == os.listdir(path.parent / ".metadata") == ["s-2"]


def test_without_a_folder_there_are_no_snapshots(tmp_path: Path) -> None:
    assert Folder(str(tmp_path / "none"), "n").list() == []
    assert not Folder(str(tmp_path / "none"), "n").delete("a")


def test_a_folder_for_something_else_is_not_listed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST", 3)
    for number in range(3):
        (path / f"s-{number}").write_bytes(b"")
    assert len(Folder(str(path), "n").list()) == 3
    (path / "s-3").write_bytes(b"")
    with pytest.raises(UserError, match="more than 3 files"):
        Folder(str(path), "n").list()
