"""Takes a node away: what runs, what install wrote and, only when told, the cluster's data."""

import os
from collections.abc import Iterator

from rke2_units import names
from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.names import Paths, Role
from rke2_units.node import installation, mounts
from rke2_units.node.killall import installed_paths, kill_all

# Data beside the data directory. /etc/cni and /opt/cni may serve other runtimes of the machine, and stay.
_DATA = (
    names.KUBELET_DIRECTORY,
    names.NODE_DIRECTORY,
    os.path.dirname(names.CONFIG_FILE),
    names.POD_LOGS,
    "/var/log/containers",
    "/var/lib/cni",
)
# What we know of the data directory: it may be a folder that holds other things as well.
_DATA_SUBFOLDERS = ("server", "agent", "data", "bin")


def removals(purge_data: bool) -> list[str]:
    """The paths that uninstall() removes and that exist."""
    written = [path for path in installation.written_files() if os.path.lexists(path)]
    if purge_data:
        data = [*_data_folders(installed_paths()), *_DATA]
        # What was written into folders that go as a whole need not be named.
        folders = [path for path in data if os.path.lexists(path)]
        written = [
            path for path in written if not path.startswith(tuple(f"{f}/" for f in folders))
        ] + folders
    return [*written, *(path for path in (names.STATE_DIRECTORY,) if os.path.isdir(path))]


def uninstall(purge_data: bool) -> Iterator[str]:
    """Ends the node, disables its unit and removes what removals() names; yields a line for each step."""
    if os.geteuid() != 0:
        raise UserError("uninstall removes files of root", hint="run it as root")
    gone = removals(purge_data)
    installed = installation.read()
    paths = installed_paths()
    yield from kill_all()
    _refuse_mounted(gone)
    for role in [installed.role] if installed else list(Role):
        run(["systemctl", "disable", role.unit], check=False)
    with installation.lock():
        # The record goes last: an uninstall that was killed can be run again.
        for path in gone:
            _remove(path)
        _remove_empty_folders(gone, paths if purge_data else None)
    run(["systemctl", "daemon-reload"], check=False)
    yield f"{len(gone)} files and folders removed"
    if not purge_data:
        configuration = os.path.dirname(names.CONFIG_FILE)
        yield f"{paths.data} and {configuration} stay (--purge-data removes them)"


def _refuse_mounted(gone: list[str]) -> None:
    """A volume that is still mounted is somebody's data, and one that is a folder of the same disk, mounted
    here a second time, looks like any other folder to rm."""
    for point in mounts.below(mounts.read_mount_points(), [f"{os.path.realpath(path)}/" for path in gone]):
        raise UserError(
            f"{point} is still mounted; nothing was removed", hint="unmount it, then run it again"
        )


def _data_folders(paths: Paths) -> list[str]:
    return [f"{paths.data}/{name}" for name in _DATA_SUBFOLDERS]


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        # One file system: whatever is mounted from now on stays.
        done = run(["rm", "-rf", "--one-file-system", "--", path], timeout=None, check=False)
        # A disk that is mounted just here can only be emptied.
        if os.path.lexists(path) and not os.path.ismount(path):
            raise UserError(f"cannot remove {path}: {done.errors.strip()}", hint="run it again afterwards")
    else:
        files.remove(path)


def _remove_empty_folders(gone: list[str], purged: Paths | None) -> None:
    """The folders of drop-ins and, with purged data, those around it, when nothing is left in them."""
    around = {os.path.dirname(path) for path in gone if os.path.dirname(path).endswith(".d")}
    around = {folder for folder in around if folder.startswith(f"{names.UNIT_DIRECTORY}/")}
    if purged is not None:
        around |= {purged.data, os.path.dirname(names.DEFAULT_DATA_DIRECTORY), "/etc/rancher"}
    for folder in sorted(around, key=len, reverse=True):
        try:
            os.rmdir(folder)
        except OSError:
            # Not empty, a mount point, or not there.
            continue
