import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from rke2_units.snapshots import compression
from tests.unit.snapshots.snapshot_node import database


def test_an_archive_has_one_entry_without_a_folder_of_now(tmp_path: Path) -> None:
    content = database(3 << 20)
    (tmp_path / "s-1.part").write_bytes(content)
    ticks: list[int] = []
    before = time.time()
    compression.compress(str(tmp_path / "s-1.part"), str(tmp_path / "s-1.zip.part"), "s-1", ticks.append)
    target = tmp_path / "s-1.zip.part"
    assert target.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(target) as archive:
        [entry] = archive.infolist()
        assert (entry.filename, entry.compress_type) == ("s-1", zipfile.ZIP_DEFLATED)
        assert archive.read(entry) == content
        # Two seconds are what an archive can tell apart.
        assert before - 3 < time.mktime((*entry.date_time, 0, 0, -1)) < time.time() + 1
    assert ticks == [1 << 20, 2 << 20, 3 << 20, len(content)]
    assert target.stat().st_size < len(content)


def test_a_clock_that_was_never_set_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.utime(tmp_path / "a", (0, 0))
    compression.compress(str(tmp_path / "a"), str(tmp_path / "a.zip"), "a", lambda done: None)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_an_error_leaves_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def tick(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compression.compress(str(tmp_path / "a"), str(tmp_path / "a.zip"), "a", tick)
    assert os.listdir(tmp_path) == ["a"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        file.truncate(80 << 20)
    code = (
        "import sys; from rke2_units.snapshots import compression\n"
        "compression.compress(sys.argv[1], sys.argv[2], 'a', lambda done: None)\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40 << 10
