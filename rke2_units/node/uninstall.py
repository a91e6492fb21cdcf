"""Takes a node away: what runs, what install wrote and, only when told, the cluster's data."""

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

# Data beside the data directory. /etc/cni and /opt/cni may serve other runtimes of the machine, and stay.
_DATA = (
    layout.KUBELET_DIRECTORY,
    layout.NODE_DIRECTORY,
    os.path.dirname(layout.CONFIG_FILE),
    layout.POD_LOGS,
    "/var/log/containers",
    "/var/lib/cni",
)
# What we know of the data directory: it may be a folder that holds other things as well.
_DATA_SUBFOLDERS = ("server", "agent", "data", "bin")
# Seconds, for each answer.
_API_PATIENCE = 3.0
# What the kubelet makes where root-dir of kubelet-arg says, which may be such a folder too.
_KUBELET_ENTRIES = (
    *("pods", "plugins", "plugins_registry", "pod-resources", "device-plugins", "checkpoints"),
    *("cpu_manager_state", "memory_manager_state", "dra_manager_state"),
    *("allocated_pods_state", "actuated_pods_state", "usernsids", "image_manager"),
)


def removals(purge_data: bool) -> list[str]:
    """The paths that uninstall() removes and that exist; without an installation, data is another's."""
    written = [path for path in installation.written_files() if os.path.lexists(path)]
    installed = installation.read()
    if purge_data and installed is not None:
        data = [*_data_folders(installed), *_DATA]
        # What was written into folders that go as a whole need not be named.
        folders = [path for path in data if os.path.lexists(path)]
        written = [
            path for path in written if not path.startswith(tuple(f"{f}/" for f in folders))
        ] + folders
    return [*written, *(path for path in (layout.STATE_DIRECTORY,) if os.path.isdir(path))]


def losses() -> list[str]:
    """What goes unexpectedly with --purge-data, a line each: the cluster itself, archives, snapshots."""
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
        f"{len(found)} {what} in {os.path.dirname(found[0])} go as well."
        for what, found in kept.items()
        if found
    ]
    return [line for line in lines if line]


def _end_of_cluster(paths: Paths) -> str:
    """Whether other servers keep the cluster, as far as its API tells; "" when one with etcd does."""
    cluster = cluster_status.ask(paths, _API_PATIENCE)
    settings = pods.planned_settings(paths)
    if cluster is None or cluster.problem or settings is None:
        return (
            "This server has data of etcd: unless another one has it too, the cluster ends with it"
            " (its API does not answer, and cannot tell)."
        )
    others = [node for node in cluster.nodes if node.name != settings.node_name]
    if any("etcd" in node.roles or node.etcd for node in others):
        return ""
    if any("control-plane" in node.roles for node in others):
        return "No other server has etcd: the cluster and all its data end with this one."
    return "This is the only server of its cluster: the cluster and all its data end with it."


def uninstall(purge_data: bool) -> Iterator[str]:
    """Ends the node, disables its unit and removes what removals() names; yields a line for each step."""
    if os.geteuid() != 0:
        raise UserError("uninstall removes files of root", hint="run it as root")
    gone = removals(purge_data)
    installed = installation.read()
    if installed is None:
        # An install that was killed has come no further. Units of these names, and what runs, are another's.
        refuse_another_kubernetes()
    else:
        # These stay, whatever ends.
        _refuse_mounted(gone, mounts.of_administrator())
        yield from kill_all()
        _refuse_mounted(gone, mounts.read_mount_points())
        run(["systemctl", "disable", installed.role.unit], check=False)
    with installation.lock():
        # The record goes last: an uninstall that was killed can be run again.
        for path in gone:
            _remove(path)
        _remove_empty_folders(gone, installed if purge_data else None)
    run(["systemctl", "daemon-reload"], check=False)
    yield f"{len(gone)} files and folders removed"
    if installed is not None and not purge_data:
        stays = [*_data_folders(installed), *_DATA]
        yield f"data and configuration stay, for you to remove: {' '.join(filter(os.path.lexists, stays))}"


def _refuse_mounted(gone: list[str], points: Collection[str]) -> None:
    """A volume that is still mounted is somebody's data, and one that is a folder of the same disk, mounted
    here a second time, looks like any other folder to rm."""
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
        # One file system: whatever is mounted from now on stays.
        done = run(["rm", "-rf", "--one-file-system", "--", path], timeout=None, check=False)
        # A disk that is mounted just here can only be emptied.
        if os.path.lexists(path) and not os.path.ismount(path):
            raise UserError(f"cannot remove {path}: {done.errors.strip()}", hint="run it again afterwards")
    else:
        files.remove(path)


def _remove_empty_folders(gone: list[str], purged: Installation | None) -> None:
    """The folders of drop-ins and, with purged data, those around it, when nothing is left in them."""
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
