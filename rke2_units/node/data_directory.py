"""Whether the folder of data-dir may be used for the node's data."""

import os
import pwd
import stat

from rke2_units.errors import ConfigurationError


def refuse_others(path: str) -> None:
    """ConfigurationError if the folder is used by others: it would become root's and world-readable.

    Accepted are a folder with a node's data (also RKE2's), one with the planned owner and mode, and an empty
    one of root.
    """
    try:
        found, entries = os.stat(path), set(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # It does not exist yet; or this is a dry run without root, and the real one will see it.
        return
    as_planned = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o755)
    unused = found.st_uid == 0 and not entries - {"lost+found"}
    if as_planned or unused or entries & {"server", "agent"}:
        return
    whose = f"belongs to {_name(found.st_uid)}" if found.st_uid else "is in use for other things"
    raise ConfigurationError(
        f"data-dir: {path} {whose}; rke2-units would give it to root, and everybody could read it",
        hint="set data-dir to a new folder below folders that only root can write to",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
