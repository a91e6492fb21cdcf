"""The files that configure a start, and whether an administrator changes them while it is in progress."""

import hashlib
import os
import stat
from collections.abc import Mapping

from rke2_units import layout
from rke2_units.config import yaml_events

# By path: the digest of its content.
Marks = dict[str, str]


class Mended(Exception):
    """The configuration has changed since the start began."""


def marks(environment: Mapping[str, str]) -> Marks:
    """The digest of each existing configuration file.

    Of its content only: configuration management may rewrite a file again and again, and a start that began
    again each time would never end. /etc/default is not included: systemd reads it only for a new process.
    """
    config = environment.get("RKE2_CONFIG_FILE") or layout.CONFIG_FILE
    folder = f"{config}.d"
    listed = os.listdir(folder) if os.path.isdir(folder) else []
    # Not the temporary files of editors.
    drop_ins = [name for name in sorted(listed) if name.lower().endswith((".yaml", ".yml"))]
    found: Marks = {}
    for path in (
        config,
        *(f"{folder}/{name}" for name in drop_ins),
        layout.REGISTRIES_FILE,
        layout.TOKEN_FILE,
    ):
        try:
            found[path] = _digest(path)
        except OSError:
            continue
    return found


def _digest(path: str) -> str:
    # Must not block on a pipe, nor read more than a configuration may have.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return hashlib.sha256(file.read(yaml_events.LARGEST_FILE + 1) if regular else b"").hexdigest()
