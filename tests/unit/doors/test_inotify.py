"""Real files, written in the ways that people and programs write them."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rke2_units.doors import inotify
from rke2_units.doors.inotify import FolderWatch

SOON = 2.0
NOT = 0.05


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "above" / "manifests"
    folder.mkdir(parents=True)
    (folder / "inner").mkdir()
    (folder / "there.yaml").write_text("a: 1\n")
    return folder


@pytest.fixture
def watch(folder: Path) -> Iterator[FolderWatch]:
    watch = FolderWatch(str(folder))
    yield watch
    watch.close()


def changes(watch: FolderWatch) -> bool:
    """Whether a change came; what belongs to the same change is read with it."""
    changed = watch.wait(SOON)
    while watch.wait(NOT):
        pass
    return changed


def rename_into(folder: Path) -> None:
    outside = folder.parent.parent / "new"
    outside.write_text("b: 1\n")
    outside.rename(folder / "new.yaml")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "new.yaml").write_text("b: 1\n"), id="a new file"),
        pytest.param(lambda folder: (folder / "new.yaml").write_text(""), id="a new empty file"),
        pytest.param(lambda folder: (folder / "there.yaml").write_text("a: 2\n"), id="a file written anew"),
        pytest.param(lambda folder: (folder / "there.yaml").write_text(""), id="an emptied file"),
        pytest.param(lambda folder: (folder / "inner" / "x.yaml").write_text("x\n"), id="in a folder"),
        pytest.param(rename_into, id="a file renamed into it"),
        pytest.param(lambda folder: (folder / "there.yaml").rename(folder.parent / "t"), id="renamed away"),
        pytest.param(lambda folder: (folder / "there.yaml").unlink(), id="deleted"),
        pytest.param(lambda folder: (folder / "l.yaml").symlink_to("there.yaml"), id="a symbolic link"),
        pytest.param(lambda folder: os.link(folder / "there.yaml", folder / "l.yaml"), id="a hard link"),
        pytest.param(lambda folder: (folder / "empty").mkdir(), id="a folder"),
        pytest.param(lambda folder: (folder / "inner").rmdir(), id="a folder deleted"),
        pytest.param(lambda folder: (folder / "there.yaml.skip").touch(), id="a .skip file"),
    ],
)
def test_a_change_wakes_who_waits(
    folder: Path, watch: FolderWatch, change: Callable[[Path], object]
) -> None:
    assert not watch.wait(NOT)
    waker = threading.Timer(0.02, change, (folder,))
    waker.start()
    assert changes(watch)
    waker.join()
    assert not watch.wait(NOT)


def test_reading_a_file_is_no_change(folder: Path, watch: FolderWatch) -> None:
    (folder / "there.yaml").read_text()
    list(folder.iterdir())
    assert not watch.wait(NOT)


def test_a_file_counts_when_its_writer_closes_it(folder: Path, watch: FolderWatch) -> None:
    with (folder / "new.yaml").open("w") as file:
        file.write("half")
        file.flush()
        assert not watch.wait(NOT)
        assert watch.being_written == {str(folder / "new.yaml")}
    assert changes(watch)
    assert watch.being_written == frozenset()


def test_a_truncated_file_is_being_written_from_the_first(folder: Path, watch: FolderWatch) -> None:
    with (folder / "there.yaml").open("w"):
        assert not watch.wait(NOT)
        assert watch.being_written == {str(folder / "there.yaml")}
    assert changes(watch)
    assert watch.being_written == frozenset()


def test_a_file_deleted_while_it_is_written_is_forgotten(folder: Path, watch: FolderWatch) -> None:
    with (folder / "new.yaml").open("w") as file:
        file.write("half")
        file.flush()
        assert not watch.wait(NOT)
        (folder / "new.yaml").unlink()
        changes(watch)
        assert watch.being_written == frozenset()


def test_files_of_folders_that_came_later_are_seen(folder: Path, watch: FolderWatch) -> None:
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert changes(watch)
    (deep / "x.yaml").write_text("x\n")
    assert changes(watch)


def test_files_of_a_folder_moved_into_it_are_seen(folder: Path, watch: FolderWatch) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    outside.rename(folder / "moved")
    assert changes(watch)
    (folder / "moved" / "x.yaml").write_text("x\n")
    assert changes(watch)


def test_what_happens_to_a_folder_moved_out_of_it_is_no_change(folder: Path, watch: FolderWatch) -> None:
    (folder / "inner").rename(folder.parent / "out")
    assert changes(watch)
    (folder.parent / "out" / "x.yaml").write_text("x\n")
    assert not watch.wait(NOT)


def test_the_folder_may_come_later(tmp_path: Path) -> None:
    folder = tmp_path / "server" / "manifests"
    watch = FolderWatch(str(folder))
    (tmp_path / "else").write_text("")
    assert not watch.wait(NOT)
    folder.mkdir(parents=True)
    assert changes(watch)
    (folder / "x.yaml").write_text("x\n")
    assert changes(watch)
    (tmp_path / "else").write_text("again")
    assert not watch.wait(NOT)
    watch.close()


def test_the_folder_may_go_and_come_back(folder: Path, watch: FolderWatch) -> None:
    folder.rename(folder.with_name("away"))
    assert changes(watch)
    folder.mkdir()
    assert changes(watch)
    (folder / "x.yaml").write_text("x\n")
    assert changes(watch)


def test_the_folder_may_be_a_link_to_one(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    watch = FolderWatch(str(link))
    (folder / "x.yaml").write_text("x\n")
    assert changes(watch)
    watch.close()


def test_more_changes_than_the_kernel_keeps_are_a_change(folder: Path, watch: FolderWatch) -> None:
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(kept // 2 + 1):
        os.close(os.open(folder / f"{number % 2}.yaml", os.O_WRONLY | os.O_CREAT, 0o600))
    assert changes(watch)
    (folder / "last.yaml").write_text("")
    assert changes(watch)


def test_a_folder_that_comes_while_the_tree_is_read_is_watched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inotify._libc.inotify_add_watch

    def add_watch(*arguments: object) -> object:
        # At the last moment before the kernel tells what comes into it.
        (folder / "late").mkdir(exist_ok=True)
        return real(*arguments)

    monkeypatch.setattr(inotify._libc, "inotify_add_watch", add_watch)
    watch = FolderWatch(str(folder))
    try:
        (folder / "late" / "a.yaml").write_text("a: 1\n")
        assert changes(watch)
    finally:
        watch.close()
