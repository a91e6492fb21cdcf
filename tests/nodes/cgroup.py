"""A cgroup of its own for each node, in every hierarchy of the host.

The container's cgroup namespace is rooted there. Without it the kubelets of two nodes would work in the same
/kubepods.slice of the host and kill each other's pods.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")


def directories(name: str) -> list[Path]:
    """The node's directory in each hierarchy, whether it exists or not."""
    return [hierarchy / f"rke2-node-{name}" for hierarchy in _hierarchies()]


def enter(name: str) -> None:
    """Make the node's cgroups and move this process into them."""
    for directory in directories(name):
        directory.mkdir(exist_ok=True)
        if (directory / "cpuset.cpus").exists():
            # A new cpuset has neither CPUs nor memory nodes, and takes no process before it has both.
            for file in ("cpuset.cpus", "cpuset.mems"):
                shutil.copyfile(directory.parent / file, directory / file)
            (directory / "cgroup.clone_children").write_text("1")
        (directory / "cgroup.procs").write_text(str(os.getpid()))


def payload(name: str) -> list[Path]:
    """The directories that are the roots of the running container's cgroup namespace."""
    # systemd-nspawn keeps itself apart from its container where systemd manages the hierarchy.
    below = [directory / "payload" for directory in directories(name)]
    return [path if path.exists() else path.parent for path in below]


def freeze(name: str, *, frozen: bool) -> None:
    """Let none of the node's processes run, or all of them again."""
    for directory in directories(name):
        # The freezer of cgroup v1, and that of v2.
        values = {"freezer.state": "FROZEN" if frozen else "THAWED", "cgroup.freeze": f"{frozen:d}"}
        for file, value in values.items():
            if (directory / file).exists():
                (directory / file).write_text(value)


def processes(name: str) -> set[int]:
    """All processes in the node's cgroups."""
    found: set[int] = set()
    for directory in directories(name):
        for path in [directory, *_below(directory)]:
            try:
                found.update(int(pid) for pid in (path / "cgroup.procs").read_text().split())
            except FileNotFoundError:
                continue
    return found


def clear(name: str) -> None:
    """Remove what the node made below its cgroups; its processes have ended."""
    for directory in directories(name):
        for path in _below(directory):
            path.rmdir()


def remove(name: str) -> None:
    """Remove the node's cgroups; its processes have ended."""
    clear(name)
    for directory in directories(name):
        if directory.exists():
            directory.rmdir()


def _below(directory: Path) -> Iterator[Path]:
    """All cgroups below one, deepest first."""
    for path, _, _ in os.walk(directory, topdown=False):
        if Path(path) != directory:
            yield Path(path)


def _hierarchies() -> list[Path]:
    found = []
    for line in _MOUNTS.read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.append(Path(mount))
    return found
