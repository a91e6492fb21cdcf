"""Where a reset makes the new data of etcd, and where it keeps what it replaces."""

import os

from rke2_units.layout import Paths
from rke2_units.machine.mounts import read_mount_points


class Places:
    """The paths of a reset that began at this time, in seconds since the epoch.

    etcd's data is a folder `member` in `live`, `new` or `old`: one rename moves it. `new` and `old` are on
    the same disk as `live`, inside of it when it is a disk of its own.
    """

    def __init__(self, paths: Paths, stamp: int) -> None:
        self.live = paths.etcd_data
        prefix = f"{self.live}/" if _is_apart(self.live) else f"{self.live}-"
        self.new = f"{prefix}restoring"
        self.old = f"{prefix}old-{stamp}"
        self.tls = f"{paths.tls}-{stamp}"
        # With the token, without which nobody can use the old data.
        self.credentials = f"{paths.credentials}-{stamp}"

    def kept(self, paths: Paths) -> list[tuple[str, str]]:
        """The folders that are copied before they are overwritten, and their copies; not empty ones."""
        pairs = ((paths.tls, self.tls), (paths.credentials, self.credentials))
        return [(source, copy) for source, copy in pairs if os.path.isdir(source) and os.listdir(source)]

    @property
    def has_data(self) -> bool:
        """Whether this server's etcd has ever run."""
        return os.path.exists(f"{self.live}/member")


def _is_apart(folder: str) -> bool:
    return os.path.islink(folder) or os.path.realpath(folder) in read_mount_points()
