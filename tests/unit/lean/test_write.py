import os
import stat
from pathlib import Path

import pytest

from rke2_units.lean import write


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def put(path: Path, content: bytes, permissions: int = 0o600, temporary: str = "") -> None:
    with write.replace(str(path), permissions, temporary=temporary) as file:
        file.write(content)


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, permissions in ((b"one", 0o600), (b"two", 0o644)):
        put(path, content, permissions)
        assert path.read_bytes() == content and mode(path) == permissions
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_else_can_open_the_file_before_it_is_whole(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with write.replace(str(tmp_path / "file"), 0o644):
            assert mode(tmp_path / "file.new") == 0o600
    finally:
        os.umask(old)


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    put(path, b"old")
    with pytest.raises(ValueError), write.replace(str(path), 0o600) as file:
        file.write(b"half")
        raise ValueError
    assert path.read_bytes() == b"old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        put(tmp_path / "folder", b"a folder is not replaced")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("kind", [os.link, os.symlink, None])
def test_what_lies_in_the_place_of_the_temporary_file_is_not_written_to(
    tmp_path: Path, kind: object
) -> None:
    secret, temporary = tmp_path / "secret", tmp_path / "elsewhere"
    secret.write_bytes(b"mine")
    if callable(kind):
        kind(secret, temporary)
    else:
        os.mkfifo(temporary)
    put(tmp_path / "file", b"new", temporary=str(temporary))
    assert secret.read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not os.path.lexists(temporary)


def test_a_staged_file_stays_under_its_own_name(tmp_path: Path) -> None:
    with write.stage(str(tmp_path / "staged"), 0o640, owner=(os.getuid(), os.getgid())) as file:
        file.write(b"new")
    assert mode(tmp_path / "staged") == 0o640
    write.discard(str(tmp_path / "staged"))
    write.discard(str(tmp_path / "staged"))
    assert os.listdir(tmp_path) == []
