"""Ends everything that this node runs at once, like RKE2's rke2-killall.sh.

Containers, mounts and firewall rules of other runtimes are kept: each step removes only what belongs to this
node, or has no running process any more.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from rke2_units import layout, unit_names
from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.machine import cgroups, firewall, mounts, network
from rke2_units.machine.processes import Process, read_processes
from rke2_units.node import installation, pods
from rke2_units.node.installation import Installation
from rke2_units.node.own_processes import read_ours
from rke2_units.unit_names import Role
from rke2_units.unit_table import ALL_UNITS, STOPPING_ORDER

_PATIENCE = 20.0
# Seconds: the daemon stops its units within 20 s (contract L4), the others stop one by one.
_STOP_TIMEOUT = 150


def kill_all() -> Iterator[str]:
    """Ends everything; yields a line for each step. UserError if something cannot be ended."""
    if os.geteuid() != 0:
        raise UserError("killall requires root", hint="run it as root")
    installed = installation.read()
    if installed is None:
        refuse_another_kubernetes()
        raise UserError(
            "rke2-units is not installed here",
            hint="nothing was changed; if its installation.json was lost, run rke2-units install first",
        )
    paths = Paths(installed.data_directory)
    yield from _stop_units()
    foreign = _mounts_of_foreign_pods(paths)
    yield from _end_processes(paths)
    yield from _remove_manifests(paths)
    if count := mounts.unmount([*_mounts(installed), *foreign]):
        yield f"{count} mounts removed"
    running = read_processes()
    if count := network.remove_namespaces(running):
        yield f"{count} network namespaces removed"
    if interfaces := network.remove_interfaces():
        yield f"interfaces removed: {', '.join(interfaces)}"
    yield from firewall.remove_rules(lambda container: _lives(container, running.values()))
    if not any("kubepods" in process.cgroups for process in running.values()):
        # The pods' empty slices; slices with processes belong to another Kubernetes.
        run(["systemctl", "stop", "kubepods.slice"], check=False)
    if count := cgroups.remove_empty():
        yield f"{count} control groups removed"
    # It describes containers that no longer exist.
    run(["rm", "-rf", "--one-file-system", "--", layout.CONTAINERD_STATE])


def refuse_another_kubernetes() -> None:
    """UserError if pods run, where no node is installed: RKE2 has the same folders and programs."""
    for process in read_processes().values():
        if "kubepods" in process.cgroups:
            raise UserError(
                "rke2-units is not installed here, but pods of another Kubernetes are running"
                f" (for example {process.name}, PID {process.pid})",
                hint="nothing was changed; stop that Kubernetes",
            )


def _stop_units() -> Iterator[str]:
    for role in Role:
        run(["systemctl", "stop", role.unit], check=False, timeout=_STOP_TIMEOUT)
    with _pods_are_not_removed_one_by_one():
        # Units of a daemon that was killed before, and units that it does not stop.
        run(["systemctl", "stop", *STOPPING_ORDER], check=False, timeout=_STOP_TIMEOUT)
        everything = (*ALL_UNITS, *(role.unit for role in Role))
        run(["systemctl", "reset-failed", *everything], check=False)
    yield "units stopped"


@contextmanager
def _pods_are_not_removed_one_by_one() -> Iterator[None]:
    """Holds the lock with which static pods' units leave their pods alone: these are killed afterwards."""
    files.make_directory(layout.RUNTIME_DIRECTORY)
    descriptor = os.open(layout.STOPPING_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # A daemon that is still stopping may hold it, with the same effect.
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _end_processes(paths: Paths) -> Iterator[str]:
    ended: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    while True:
        processes = read_processes()
        living = read_ours(paths, processes)
        if not living:
            break
        if time.monotonic() > deadline:
            left = ", ".join(f"{processes[pid].name} (PID {pid})" for pid in sorted(living)[:5])
            raise UserError(
                f"SIGKILL does not end these processes: {left}",
                hint="they wait for a disk or network volume; see dmesg",
            )
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= living
        time.sleep(0.05)
    if ended:
        yield f"{len(ended)} processes ended"


def _mounts(installed: Installation) -> list[str]:
    """The mounts of containerd and the kubelet, the last first; without mounts of an administrator."""
    # The kubelet mounts in the folders of pods, and of plugins, where volumes are staged. A disk that is one
    # of these folders, or that is mounted elsewhere in the kubelet's folder, belongs to the administrator.
    kubelets = installed.kubelet_directories
    folders = ["/run/k3s", *(f"{path}/{name}" for path in kubelets for name in ("pods", "plugins"))]
    # The kernel names mounts by their real paths.
    found = mounts.below(mounts.read_mount_points(), [f"{os.path.realpath(path)}/" for path in folders])
    return mounts.without(found, mounts.of_administrator()) if found else []


def _mounts_of_foreign_pods(paths: Paths) -> list[str]:
    """The mounts of an existing containerd for this node's pods: without a kubelet they would stay."""
    settings = pods.foreign(paths)
    if settings is None:
        return []
    identifiers = {task.identifier for task in pods.containers(settings)}
    state = os.path.dirname(settings.containerd_socket)
    return [
        point
        for point in mounts.below(mounts.read_mount_points(), [f"{os.path.realpath(state)}/"])
        if identifiers & set(point.split("/"))
    ]


def _remove_manifests(paths: Paths) -> Iterator[str]:
    """If they stayed, the next kubelet would start the old pods at once."""
    components = unit_names.STATIC_PODS
    removed = [component for component in components if files.remove(paths.manifest(component))]
    if removed:
        yield f"manifests removed: {', '.join(removed)}"


def _lives(container: str, processes: Iterable[Process]) -> bool:
    # nerdctl and ctr give CNI plugins NAMESPACE-ID, and name the cgroup after the ID.
    identifiers = {container, container.partition("-")[2] or container}
    return any(name in process.cgroups for process in processes for name in identifiers)
