"""Processes are read out of /proc, with their descent."""

import os
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rke2_units.machine.processes import (
    Process,
    ancestors,
    descendants,
    read_processes,
)


def table(*processes: Process) -> dict[int, Process]:
    return {process.pid: process for process in processes}


def process(pid: int, parent: int, executable: str = "/bin/sh", cgroups: str = "0::/user.slice") -> Process:
    return Process(pid, parent, os.path.basename(executable), executable, cgroups)


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 30)), st.integers(1, 30))
def test_descent_and_ancestry_agree_whatever_the_table(parents: dict[int, int], root: int) -> None:
    processes = {pid: process(pid, parent) for pid, parent in parents.items()}
    below = descendants(processes, [root])
    assert below == {pid for pid in processes if root in ancestors(processes, pid)}


def test_proc_is_read_whatever_a_process_is_called(tmp_path: Path) -> None:
    for pid, name in ((7, "a) S (b c"), (8, "plain")):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} ({name}) S 1 7 7 0 -1 4194560 " + "0 " * 30)
        (folder / "cgroup").write_text("0::/x\n")
    (tmp_path / "8" / "exe").symlink_to("/usr/bin/plain (deleted)")
    (tmp_path / "9").mkdir()  # has just ended
    (tmp_path / "self").mkdir()
    found = read_processes(os.fspath(tmp_path))
    assert found == {
        7: Process(7, 1, "a) S (b c", "", "0::/x\n"),
        8: Process(8, 1, "plain", "/usr/bin/plain", "0::/x\n"),
    }


def test_this_very_process_is_found() -> None:
    assert read_processes()[os.getpid()].parent == os.getppid()


def test_a_process_that_waits_for_its_parent_has_ended() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert child.pid not in read_processes()
    finally:
        child.wait()


def test_a_process_lives_while_one_of_its_threads_does() -> None:
    code = (
        "import ctypes, threading\n"
        "threading.Thread(target=input).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        try:
            stat = Path(f"/proc/{child.pid}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] != "Z":
                assert child.poll() is None
                time.sleep(0.01)
            assert child.pid in read_processes()
        finally:
            child.kill()
