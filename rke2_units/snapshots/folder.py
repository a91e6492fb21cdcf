"""The snapshots in a folder of this node, and the metadata that lies beside the folder."""

import itertools
import json
import os
import stat
from datetime import UTC, datetime

from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.snapshots import names
from rke2_units.snapshots.snapshot import Snapshot

# Entries of a folder: with RKE2's schedule, as many as come together in five years.
MOST = 10_000
# A ConfigMap, which the metadata comes from, holds 1 MiB.
_LARGEST_METADATA = 1 << 20
# Of the year 9999.
_LAST_SECOND = 253402300799


class Folder:
    """A folder of this node's snapshots. Sub-folders, links and other things in it are none.

    Methods raise UserError (and OSError for a broken disk).
    """

    def __init__(self, path: str, node: str) -> None:
        self._path = os.path.normpath(path)
        self._node = node

    def path(self, name: str) -> str:
        """Where a file of this name lies; UserError for what is not the name of a file."""
        if not is_file_name(name):
            raise UserError(f"invalid snapshot name {name!r}: it is not the name of a file")
        return f"{self._path}/{name}"

    def list(self) -> list[Snapshot]:
        """The snapshots that are complete, the oldest first; none without the folder."""
        try:
            with os.scandir(self._path) as entries:
                found = [entry.name for entry in itertools.islice(entries, MOST + 1)]
        except FileNotFoundError:
            return []
        if len(found) > MOST:
            raise UserError(
                f"{self._path} has more than {MOST} files",
                hint="it is for snapshots alone; remove what is not needed",
            )
        snapshots = [one for name in found if is_file_name(name) and (one := self.snapshot(name))]
        return sorted(snapshots, key=lambda one: (one.created, one.name))

    def snapshot(self, name: str) -> Snapshot | None:
        """The snapshot of this name; None when there is none."""
        path = self.path(name)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode) or name.endswith(names.PART):
            return None
        return Snapshot(
            name, self._node, f"file://{path}", found.st_size, _created(name, found), self.metadata(name)
        )

    def metadata(self, name: str) -> dict[str, str]:
        """The metadata of the snapshot of this name; empty when it has none that can be read."""
        path = names.metadata_path(self.path(name))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                content = file.read(_LARGEST_METADATA + 1)
            values = json.loads(content) if len(content) <= _LARGEST_METADATA else None
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(values, dict):
            return {}
        return {key: value for key, value in values.items() if isinstance(value, str)}

    def delete(self, name: str) -> bool:
        """Removes the snapshot and its metadata; False when there is no such snapshot."""
        if self.snapshot(name) is None:
            return False
        # In this order, whoever is killed between the two leaves a snapshot, which can be removed again.
        files.remove(names.metadata_path(self.path(name)))
        return files.remove(self.path(name))


def is_file_name(name: str) -> bool:
    """Whether a snapshot can have the name: one file's, which an object of the API and a line can hold."""
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def _created(name: str, found: os.stat_result) -> datetime:
    seconds = names.seconds_of(name)
    if seconds is None or seconds > _LAST_SECOND:
        seconds = min(max(int(found.st_mtime), 0), _LAST_SECOND)
    return datetime.fromtimestamp(seconds, UTC)
