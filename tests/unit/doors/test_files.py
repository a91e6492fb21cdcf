"""Files are written whole or not at all, with their mode, and are left alone when they already are so."""

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.model import File


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owned(path: str, content: str, mode: int = 0o644) -> File:
    return File(path, content, mode, user=os.getuid(), group=os.getgid())


def write(path: Path, content: str | bytes, mode: int = 0o644) -> bool:
    return files.write_atomic(os.fspath(path), content, mode, os.getuid(), os.getgid())


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o755, 0o444])
def test_a_new_file_has_its_content_and_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    old = os.umask(0o077)
    try:
        assert write(tmp_path / "a" / "b.conf", "text\n", mode)
    finally:
        os.umask(old)
    assert (tmp_path / "a" / "b.conf").read_text() == "text\n"
    assert mode_of(tmp_path / "a" / "b.conf") == mode
    assert mode_of(tmp_path / "a") == 0o755
    assert os.listdir(tmp_path / "a") == ["b.conf"]


def test_a_file_that_already_is_so_is_not_written_again(tmp_path: Path) -> None:
    place = tmp_path / "unit"
    write(place, "same")
    before = place.stat()
    assert not write(place, "same")
    assert place.stat().st_ino == before.st_ino
    assert write(place, "same", 0o600)
    assert mode_of(place) == 0o600
    assert write(place, "diff", 0o600)
    assert place.read_text() == "diff"


def test_a_symbolic_link_is_replaced_and_what_it_points_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert write(tmp_path / "link", "precious")
    assert not (tmp_path / "link").is_symlink()
    assert write(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "precious"


def test_a_folder_in_the_place_of_a_file_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*/unit: Is a directory") as error:
        write(tmp_path / "unit", "text")
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["unit"]


def test_a_file_in_the_place_of_a_folder_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(UserError, match=r"^cannot write .*/folder/unit: Not a directory"):
        write(tmp_path / "folder" / "unit", "text")


def test_write_all_returns_only_the_paths_that_changed(tmp_path: Path) -> None:
    root = os.fspath(tmp_path)
    wanted = [owned("/etc/a", "a"), owned("/usr/lib/b", "b", 0o600)]
    assert files.write_all(wanted, root) == ["/etc/a", "/usr/lib/b"]
    assert files.write_all(wanted, root) == []
    assert all(files.is_so(file, root) for file in wanted)
    wanted[1] = owned("/usr/lib/b", "c", 0o600)
    assert files.write_all(wanted, root) == ["/usr/lib/b"]
    assert (tmp_path / "usr/lib/b").read_text() == "c"


@pytest.mark.parametrize("failing_call", range(1, 4))
def test_a_disk_that_fills_up_leaves_every_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    root = os.fspath(tmp_path)
    old = [owned(f"/etc/{name}", "old") for name in "abc"]
    files.write_all(old, root)
    calls = 0
    synchronise = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device") as error:
        files.write_all([owned(file.path, "new") for file in old], root)
    assert error.value.hint and "free some space" in error.value.hint
    assert sorted(os.listdir(tmp_path / "etc")) == ["a", "b", "c"]
    assert {(tmp_path / "etc" / name).read_text() for name in "abc"} == {"old"}


def test_temporary_files_of_ended_processes_are_cleaned_and_no_others(tmp_path: Path) -> None:
    ended = 2**22 + 1  # above the kernel's largest process ID
    (tmp_path / f".rke2-units-a.yaml.{ended}").write_text("half")
    (tmp_path / f".rke2-units-a.yaml.{os.getpid()}").write_text("being written")
    (tmp_path / ".rke2-units-notes").write_text("somebody's")
    (tmp_path / "a.yaml").write_text("whole")
    assert files.clean(os.fspath(tmp_path)) == [os.fspath(tmp_path / f".rke2-units-a.yaml.{ended}")]
    assert len(os.listdir(tmp_path)) == 3
    assert files.clean(os.fspath(tmp_path / "missing")) == []


def test_folders_get_the_mode_they_are_to_have(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    ours = (os.getuid(), os.getgid())
    assert files.make_directory(os.fspath(place), 0o700, *ours)
    assert not files.make_directory(os.fspath(place), 0o700, *ours)
    assert (mode_of(place), mode_of(place.parent)) == (0o700, 0o755)
    assert files.make_directory(os.fspath(place), 0o711, *ours)
    assert mode_of(place) == 0o711
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Not a directory"):
        files.make_directory(os.fspath(tmp_path / "file"), 0o755, *ours)


def test_removing_says_whether_there_was_something(tmp_path: Path) -> None:
    write(tmp_path / "a", "a")
    assert files.remove(os.fspath(tmp_path / "a"))
    assert not files.remove(os.fspath(tmp_path / "a"))
    with pytest.raises(UserError, match="cannot remove"):
        files.remove(os.fspath(tmp_path))


def test_a_missing_file_reads_as_none_and_bad_text_is_an_error(tmp_path: Path) -> None:
    assert files.read_text(os.fspath(tmp_path / "missing")) is None
    write(tmp_path / "bad", b"ab\xff")
    with pytest.raises(UserError, match="not UTF-8 text at byte 2"):
        files.read_text(os.fspath(tmp_path / "bad"))
    with pytest.raises(UserError, match="Is a directory"):
        files.read_text(os.fspath(tmp_path))


@given(content=st.binary(max_size=200))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    place = tmp_path_factory.mktemp("roundtrip") / "file"
    write(place, content)
    assert files.read_bytes(os.fspath(place)) == content
    assert not write(place, content)


def test_paths_are_placed_below_the_root() -> None:
    assert files.below("/", "/etc/a") == "/etc/a"
    assert files.below("/tmp/root", "/etc/a") == "/tmp/root/etc/a"
    assert files.below("out", "/etc/a") == "out/etc/a"


def test_a_device_or_pipe_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "null"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="it is a device, a socket or a pipe"):
        write(pipe, "secret", 0o600)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]
