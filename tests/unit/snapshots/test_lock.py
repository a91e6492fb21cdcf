import os
import subprocess
import sys
from pathlib import Path

import pytest

from rke2_units.snapshots import lock

_HOLD = (
    "import sys; from rke2_units.snapshots import lock\n"
    "with lock.held(sys.argv[1]): print(1, flush=True); input()"
)


def test_only_one_process_holds_a_lock_and_a_killed_one_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        with pytest.raises(lock.Locked), lock.held(str(path)):
            pass
        with pytest.raises(lock.Locked), lock.held(str(path), patience=0.3):
            pass
        other.kill()
        other.wait()
        with lock.held(str(path), patience=5):
            pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_is_not_held_after_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with pytest.raises(ValueError), lock.held(path):
        raise ValueError
    with lock.held(path):
        pass


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "lock")
    with pytest.raises(OSError), lock.held(str(tmp_path / "lock")):
        pass
    assert not (tmp_path / "elsewhere").exists()
