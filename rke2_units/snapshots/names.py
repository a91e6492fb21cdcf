"""Names of snapshots, and of what lies beside them: BASE-NODE-SECONDS, with .zip when it is compressed."""

import os

SCHEDULED = "etcd-snapshot"
ON_DEMAND = "on-demand"
ZIP = ".zip"
# The streaming snapshot, until it is complete.
PART = ".part"


def file_name(base: str, node: str, seconds: int) -> str:
    """The name of a snapshot that NODE takes now, uncompressed; `seconds` since the epoch."""
    return f"{base}-{node}-{seconds}"


def seconds_of(name: str) -> int | None:
    """The time in the name, in seconds since the epoch; None for a name without one."""
    digits = name.removesuffix(ZIP).rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 18 else None


def metadata_path(path: str) -> str:
    """The file with the metadata of the snapshot at PATH: in a folder beside that of the snapshots."""
    folder, name = os.path.split(os.path.normpath(path))
    return f"{os.path.dirname(folder)}/.metadata/{name}"
