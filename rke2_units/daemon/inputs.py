"""What a start goes by and an administrator may mend while it is under way."""

import os
from collections.abc import Mapping

from rke2_units import names
from rke2_units.names import Role

# By path: inode, size and time of the last change.
Marks = dict[str, list[int]]


class Mended(Exception):
    """The configuration is no longer the one that the start goes by."""


def marks(role: Role, environment: Mapping[str, str]) -> Marks:
    """What the file system keeps of each file that is there; one that is written anew has other marks."""
    config = environment.get("RKE2_CONFIG_FILE") or names.CONFIG_FILE
    folder = f"{config}.d"
    listed = os.listdir(folder) if os.path.isdir(folder) else []
    # An editor's own files beside them are none of the configuration.
    drop_ins = [name for name in sorted(listed) if name.endswith((".yaml", ".yml"))]
    found: Marks = {}
    for path in (
        config,
        *(f"{folder}/{name}" for name in drop_ins),
        names.REGISTRIES_FILE,
        names.TOKEN_FILE,
        f"/etc/default/{role.unit.removesuffix('.service')}",
    ):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found[path] = [status.st_ino, status.st_size, status.st_mtime_ns]
    return found
