"""What a start goes by and an administrator may mend while it is under way."""

import hashlib
import os
import stat
from collections.abc import Mapping

from rke2_units import layout
from rke2_units.config import yaml_events

# By path: the digest of its content.
Marks = dict[str, str]


class Mended(Exception):
    """The configuration is no longer the one that the start goes by."""


def marks(environment: Mapping[str, str]) -> Marks:
    """What each file that is there says; one that is written anew with the same content has the same mark.

    Configuration management may write them again and again: a start that began anew each time would never
    end. /etc/default is not among them: systemd reads it for a new process alone.
    """
    config = environment.get("RKE2_CONFIG_FILE") or layout.CONFIG_FILE
    folder = f"{config}.d"
    listed = os.listdir(folder) if os.path.isdir(folder) else []
    # An editor's own files beside them are none of the configuration.
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
    # Never waits for the other end of a pipe, and reads no more than is ever taken for a configuration.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return hashlib.sha256(file.read(yaml_events.LARGEST_FILE + 1) if regular else b"").hexdigest()
