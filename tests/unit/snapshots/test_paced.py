"""What a program writes reaches the disk in portions, while the program stands still."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.lean import processes
from rke2_units.snapshots.paced import paced

MIB = 1 << 20
# Writes 24 MiB in steps.
WRITES = """
import sys, time
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in range(24):
        file.write(bytes(1 << 20))
        time.sleep(0.01)
"""


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of the file at each flush, for which the process that writes it has to stand still."""
    sizes: list[int] = []

    def state(pid: str) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    def fdatasync(descriptor: int) -> None:
        [writer] = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        end = time.monotonic() + 20
        # A signal arrives when the process is next on a processor; a zombie has written everything.
        while state(writer) not in "TZ":
            assert time.monotonic() < end, "it is not stopped"
            time.sleep(0.01)
        sizes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return sizes


def test_a_program_stands_still_while_each_portion_is_put_on_the_disk(
    tmp_path: Path, flushed: list[int]
) -> None:
    path = tmp_path / "db"
    with paced(str(tmp_path / "never"), str(path)):
        finished = processes.run([sys.executable, "-c", WRITES, str(path)], timeout=60)
    assert finished.code == 0 and path.stat().st_size == 24 * MIB
    assert len(flushed) >= 3 and flushed == sorted(set(flushed))


def test_a_program_goes_on_when_nobody_looks_any_more(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with subprocess.Popen([sys.executable, "-c", WRITES, str(path)]) as process:
        with paced(str(path)):
            while not path.exists() or path.stat().st_size < 4 * MIB:
                pass
        assert process.wait(timeout=60) == 0
    assert path.stat().st_size == 24 * MIB


def test_what_fails_meanwhile_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot"), paced(str(tmp_path / "db")):
        raise UserError("it cannot be restored")
