"""The processes of this machine, as the kernel shows them in /proc, and which of them are ours."""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rke2_units.names import ALL_UNITS, CONTAINERD_STATE, Paths, Role
from rke2_units.node import pods

_UNITS = frozenset((*ALL_UNITS, *(role.unit for role in Role)))
_TASKS = f"{CONTAINERD_STATE}/io.containerd.runtime.v2.task/k8s.io"


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


def container_ids(paths: Paths) -> set[str]:
    """The IDs of our running containers, which their cgroups are named after.

    These are all of our own containerd, and the pods in one that was there already.
    """
    try:
        found = {name for name in os.listdir(_TASKS) if len(name) >= 32}
    except FileNotFoundError:
        found = set()
    settings = pods.foreign(paths)
    return found | {task.identifier for task in pods.containers(settings)} if settings else found


def ours(
    processes: Mapping[int, Process], content: str, containers: Collection[str], ourselves: int
) -> set[int]:
    """The processes that belong to this node's Kubernetes.

    These are: whatever runs a program of ours (`content`, the folder that holds RKE2's `<release>/bin`) and
    what is left in the cgroups of our units, with all that descends from a shim among them; and containers
    of ours that have lost their shim, or have one of a foreign containerd, by their cgroup. Never the
    process `ourselves` and those that lead to it.
    """
    found = set()
    shims = set()
    for process in processes.values():
        program = process.executable
        of_content = (
            program.startswith(f"{content}/") and os.path.basename(os.path.dirname(program)) == "bin"
        )
        in_unit = _in_our_unit(process.cgroups)
        if of_content or in_unit or any(name in process.cgroups for name in containers):
            found.add(process.pid)
        # The machine's own shim (content: host) is known by the unit whose containerd started it.
        if (of_content or in_unit) and os.path.basename(program).startswith("containerd-shim"):
            shims.add(process.pid)
    return (found | descendants(processes, shims)) - ancestors(processes, ourselves)


def _in_our_unit(cgroups: str) -> bool:
    return any(part in _UNITS for line in cgroups.splitlines() for part in line.split("/"))


def read_ours(paths: Paths, processes: Mapping[int, Process]) -> set[int]:
    """Those of the processes that belong to this node's Kubernetes; see ours()."""
    return ours(processes, os.path.realpath(paths.content), container_ids(paths), os.getpid())
