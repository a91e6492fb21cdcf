"""Ends everything of this node at once, for an administrator who wants it gone (RKE2's rke2-killall.sh).

Containers, mounts and firewall rules of other runtimes stay: each step takes only what it knows to be ours,
or what nobody lives in any more.
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
# The daemon stops its units within 20 s (contract L4), what is left is stopped one by one.
_STOP_TIMEOUT = 150


def kill_all() -> Iterator[str]:
    """Stops and ends it all; yields a line for each thing done. UserError when something cannot be ended."""
    if os.geteuid() != 0:
        raise UserError("killall ends processes of root", hint="run it as root")
    installed = installation.read()
    if installed is None:
        refuse_another_kubernetes()
        raise UserError(
            "no node of rke2-units is installed here",
            hint="nothing was changed; where a node's installation.json was lost: rke2-units install, first",
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
        # The empty slices of the pods; with processes in them they are another Kubernetes'.
        run(["systemctl", "stop", "kubepods.slice"], check=False)
    if count := cgroups.remove_empty():
        yield f"{count} control groups removed"
    # What is in it speaks of containers that are gone.
    run(["rm", "-rf", "--one-file-system", "--", layout.CONTAINERD_STATE])


def refuse_another_kubernetes() -> None:
    """UserError where pods run, for who has no node of ours: RKE2 has the very same folders and programs."""
    for process in read_processes().values():
        if "kubepods" in process.cgroups:
            raise UserError(
                "no node of rke2-units is installed, and pods run here:"
                f" {process.name} (PID {process.pid}) is one's",
                hint="nothing was changed; stop the Kubernetes that they belong to",
            )


def _stop_units() -> Iterator[str]:
    for role in Role:
        run(["systemctl", "stop", role.unit], check=False, timeout=_STOP_TIMEOUT)
    with _pods_are_not_removed_one_by_one():
        # Those of a daemon that was killed before, and those that it would not stop.
        run(["systemctl", "stop", *STOPPING_ORDER], check=False, timeout=_STOP_TIMEOUT)
        everything = (*ALL_UNITS, *(role.unit for role in Role))
        run(["systemctl", "reset-failed", *everything], check=False)
    yield "units stopped"


@contextmanager
def _pods_are_not_removed_one_by_one() -> Iterator[None]:
    """The lock that static pods' units look at when they stop: they are about to be killed anyway."""
    files.make_directory(layout.RUNTIME_DIRECTORY)
    descriptor = os.open(layout.STOPPING_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # Held by a daemon that is still stopping: then it has the same effect.
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
                f"these do not end by SIGKILL: {left}",
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
    """What containerd and the kubelet have mounted, the last first; an administrator's own mounts stay."""
    # The kubelet mounts in the folders of pods, and in those of plugins, where volumes are staged. A disk
    # that one of these folders is, or that lies elsewhere in the kubelet's, is somebody else's.
    kubelets = installed.kubelet_directories
    folders = ["/run/k3s", *(f"{path}/{name}" for path in kubelets for name in ("pods", "plugins"))]
    # The kernel names mounts by their real paths.
    found = mounts.below(mounts.read_mount_points(), [f"{os.path.realpath(path)}/" for path in folders])
    return mounts.without(found, mounts.of_administrator()) if found else []


def _mounts_of_foreign_pods(paths: Paths) -> list[str]:
    """What a containerd that is not ours has mounted for our pods: it waits for a kubelet to unmount it."""
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
    """Without these, the next kubelet would start the old pods before anybody has asked for them."""
    components = unit_names.STATIC_PODS
    removed = [component for component in components if files.remove(paths.manifest(component))]
    if removed:
        yield f"manifests removed: {', '.join(removed)}"


def _lives(container: str, processes: Iterable[Process]) -> bool:
    # nerdctl and ctr tell CNI plugins NAMESPACE-ID, and name the cgroup after the ID.
    identifiers = {container, container.partition("-")[2] or container}
    return any(name in process.cgroups for process in processes for name in identifiers)
