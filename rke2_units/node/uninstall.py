"""Removes a node: what runs, what install wrote and, only on request, the cluster's data."""

import glob
import os
from collections.abc import Collection, Iterator

from rke2_units import layout
from rke2_units.cluster import cluster_status
from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.images.archive_files import archives, lists
from rke2_units.layout import Paths
from rke2_units.machine import mounts
from rke2_units.node import installation, pods
from rke2_units.node.installation import Installation
from rke2_units.node.killall import kill_all, refuse_another_kubernetes

# Data outside the data directory. /etc/cni and /opt/cni are kept: other runtimes may use them.
_DATA = (
    layout.KUBELET_DIRECTORY,
    layout.NODE_DIRECTORY,
    os.path.dirname(layout.CONFIG_FILE),
    layout.POD_LOGS,
    "/var/log/containers",
    "/var/lib/cni",
)
# The node's folders in the data directory, which may also contain other things.
_DATA_SUBFOLDERS = ("server", "agent", "data", "bin")
# Seconds, for each answer.
_API_PATIENCE = 3.0
# What the kubelet creates in root-dir of kubelet-arg, which may also contain other things.
_KUBELET_ENTRIES = (
    *("pods", "plugins", "plugins_registry", "pod-resources", "device-plugins", "checkpoints"),
    *("cpu_manager_state", "memory_manager_state", "dra_manager_state"),
    *("allocated_pods_state", "actuated_pods_state", "usernsids", "image_manager"),
)


def removals(purge_data: bool) -> list[str]:
    """The existing paths that uninstall() removes; without an installation no data: it is another's."""
    written = [path for path in installation.written_files() if os.path.lexists(path)]
    installed = installation.read()
    if purge_data and installed is not None:
        data = [*_data_folders(installed), *_DATA]
        # Files in folders that are removed completely need not be listed.
        folders = [path for path in data if os.path.lexists(path)]
        written = [
            path for path in written if not path.startswith(tuple(f"{f}/" for f in folders))
        ] + folders
    return [*written, *(path for path in (layout.STATE_DIRECTORY,) if os.path.isdir(path))]


def losses() -> list[str]:
    """Losses of --purge-data that may surprise, a line each: the cluster itself, archives, snapshots."""
    installed = installation.read()
    if installed is None:
        return []
    paths = Paths(installed.data_directory)
    lines = [_end_of_cluster(paths)] if os.path.exists(paths.etcd_data) else []
    kept = {
        "archives and lists of images": [*archives(paths.images), *lists(paths.images)],
        "snapshots of etcd": glob.glob(f"{glob.escape(paths.snapshots)}/*"),
    }
    lines += [
        f"{len(found)} {what} in {os.path.dirname(found[0])} are removed as well."
        for what, found in kept.items()
        if found
    ]
    return [line for line in lines if line]


def _end_of_cluster(paths: Paths) -> str:
    """Warns if no other server keeps the cluster, as far as its API shows; "" if one with etcd does."""
    cluster = cluster_status.ask(paths, _API_PATIENCE)
    settings = pods.planned_settings(paths)
    if cluster is None or cluster.problem or settings is None:
        return (
            "This server has data of etcd: unless another server has it too, the cluster is lost with it"
            " (the API does not answer, so this cannot be checked)."
        )
    others = [node for node in cluster.nodes if node.name != settings.node_name]
    if any("etcd" in node.roles or node.etcd for node in others):
        return ""
    if any("control-plane" in node.roles for node in others):
        return "No other server has etcd: the cluster and all its data are lost with this one."
    return "This is the only server of its cluster: the cluster and all its data are lost with it."


def uninstall(purge_data: bool) -> Iterator[str]:
    """Ends the node, disables its unit and removes what removals() names; yields a line for each step."""
    if os.geteuid() != 0:
        raise UserError("uninstall requires root", hint="run it as root")
    gone = removals(purge_data)
    installed = installation.read()
    if installed is None:
        # An install was killed before its end. Units of these names, and processes, belong to another RKE2.
        refuse_another_kubernetes()
    else:
        # killall does not remove these.
        _refuse_mounted(gone, mounts.of_administrator())
        yield from kill_all()
        _refuse_mounted(gone, mounts.read_mount_points())
        run(["systemctl", "disable", installed.role.unit], check=False)
    with installation.lock():
        # The record is removed last, so that an uninstall that was killed can be run again.
        for path in gone:
            _remove(path)
        _remove_empty_folders(gone, installed if purge_data else None)
    run(["systemctl", "daemon-reload"], check=False)
    yield f"{len(gone)} files and folders removed"
    if installed is not None and not purge_data:
        kept = [*_data_folders(installed), *_DATA]
        yield f"data and configuration are kept for you to remove: {' '.join(filter(os.path.lexists, kept))}"


def _refuse_mounted(gone: list[str], points: Collection[str]) -> None:
    """UserError if anything is mounted below these paths: it may be a volume with data. rm would delete its
    files even with --one-file-system, if it is a bind mount of the same disk."""
    there = set(mounts.read_mount_points())
    for point in mounts.below(points, [f"{os.path.realpath(path)}/" for path in gone]):
        if point in there:
            raise UserError(
                f"{point} is still mounted; nothing was removed", hint="unmount it, then run it again"
            )


def _data_folders(installed: Installation) -> list[str]:
    kubelets = [path for path in installed.kubelet_directories if path != layout.KUBELET_DIRECTORY]
    return [
        *(f"{installed.data_directory}/{name}" for name in _DATA_SUBFOLDERS),
        *(f"{kubelet}/{name}" for kubelet in kubelets for name in _KUBELET_ENTRIES),
    ]


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        # One file system: nothing that is mounted from now on is deleted.
        done = run(["rm", "-rf", "--one-file-system", "--", path], timeout=None, check=False)
        # A mount point itself cannot be removed, only emptied.
        if os.path.lexists(path) and not os.path.ismount(path):
            raise UserError(f"cannot remove {path}: {done.errors.strip()}", hint="run it again afterwards")
    else:
        files.remove(path)


def _remove_empty_folders(gone: list[str], purged: Installation | None) -> None:
    """Removes empty folders of drop-ins and, with purged data, empty folders above it."""
    around = {os.path.dirname(path) for path in gone if os.path.dirname(path).endswith(".d")}
    around = {folder for folder in around if folder.startswith(f"{layout.UNIT_DIRECTORY}/")}
    if purged is not None:
        around |= {purged.data_directory, os.path.dirname(layout.DEFAULT_DATA_DIRECTORY), "/etc/rancher"}
        around |= set(purged.kubelet_directories)
    for folder in sorted(around, key=len, reverse=True):
        try:
            os.rmdir(folder)
        except OSError:
            # Not empty, a mount point, or not there.
            continue
