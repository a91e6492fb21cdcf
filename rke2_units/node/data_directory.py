"""Whether the folder that data-dir names may become the node's."""

import os
import pwd
import stat

from rke2_units.errors import ConfigurationError


def refuse_others(path: str) -> None:
    """ConfigurationError when it is there and somebody's: it would become root's, and readable by all.

    One that holds a node's data (RKE2's too), is as the plan makes it, or is root's and empty, will do.
    """
    try:
        found, entries = os.stat(path), set(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # Nothing is there yet; or a dry run may not look, and root will.
        return
    as_planned = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o755)
    unused = found.st_uid == 0 and not entries - {"lost+found"}
    if as_planned or unused or entries & {"server", "agent"}:
        return
    whose = f"belongs to {_name(found.st_uid)}" if found.st_uid else "is in use for other things"
    raise ConfigurationError(
        f"data-dir: {path} is there and {whose}; it would become root's, and everybody could read it",
        hint="give data-dir a folder of its own, in folders that nobody but root can write to",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
