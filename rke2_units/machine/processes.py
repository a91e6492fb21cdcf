"""The processes of this machine, as the kernel shows them in /proc."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """One process: `executable` is "" for a kernel thread."""

    pid: int
    parent: int
    name: str
    executable: str
    cgroups: str


def read_processes(proc: str = "/proc") -> dict[int, Process]:
    """All processes by their ID; those that have ended are left out, although they wait for their parent."""
    found = {}
    for entry in os.listdir(proc):
        if entry.isdecimal():
            process = _read(proc, int(entry))
            if process is not None:
                found[process.pid] = process
    return found


def _read(proc: str, pid: int) -> Process | None:
    try:
        with open(f"{proc}/{pid}/stat", encoding="utf-8", errors="replace") as file:
            stat = file.read()
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            cgroups = file.read()
    except OSError:
        return None
    try:
        executable = os.readlink(f"{proc}/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        executable = ""
    # The name stands in parentheses and may hold any character, spaces and parentheses too.
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    # proc(5): state, and the number of threads. A process whose first thread has ended is a zombie already
    # while its other threads, on their way out, still hold its cgroups and mounts.
    if fields[0] in ("Z", "X") and int(fields[17]) <= 1:
        return None
    return Process(pid, int(fields[1]), name, executable, cgroups)


def descendants(processes: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """The roots and all processes below them."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in processes]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def ancestors(processes: Mapping[int, Process], pid: int) -> set[int]:
    """The process and all those above it."""
    found: set[int] = set()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].parent
    return found
