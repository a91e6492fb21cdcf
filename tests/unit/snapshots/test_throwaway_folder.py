"""A folder that nothing stays in."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rke2_units.errors import UserError
from rke2_units.snapshots import throwaway_folder


def test_what_a_killed_run_has_left_is_removed_and_nothing_stays(tmp_path: Path) -> None:
    folder = tmp_path / "verify"
    (folder / "restored" / "member").mkdir(parents=True)
    (folder / "restored.snapshot").write_text("half")
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    with throwaway_folder.held(str(folder)) as path:
        assert os.listdir(path) == []
        (folder / "restored").mkdir()
    assert os.listdir(folder) == [] and (tmp_path / "elsewhere").exists()


def test_it_is_one_run_s_at_a_time(tmp_path: Path) -> None:
    folder = str(tmp_path / "verify")
    with throwaway_folder.held(folder):
        (tmp_path / "verify" / "restored").mkdir()
        with (
            pytest.raises(UserError, match="another snapshot is being verified"),
            throwaway_folder.held(folder),
        ):
            pass
        assert os.listdir(folder) == ["restored"]
    with throwaway_folder.held(folder):
        pass


@pytest.mark.parametrize(("free", "fits"), [(60 + 160 + 512, True), (60 + 160 + 511, False)])
def test_a_part_of_the_disk_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, fits: bool
) -> None:
    """A disk of 1000 MiB, of which 60 stay free, and 160 are for etcd's log."""
    snapshot = tmp_path / "snapshot"
    snapshot.touch()
    os.truncate(snapshot, 512 << 20)
    disk = SimpleNamespace(f_bavail=free << 8, f_blocks=1000 << 8, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    if fits:
        throwaway_folder.require_space(str(tmp_path), str(snapshot))
    else:
        with pytest.raises(throwaway_folder.NoRoom, match="needs 672 MiB to be verified, and 671 MiB can"):
            throwaway_folder.require_space(str(tmp_path), str(snapshot))
