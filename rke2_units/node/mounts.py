"""The mounts of this machine, as /proc/self/mountinfo shows them (proc(5)), and taking ours away."""

import re
from collections.abc import Collection
from contextlib import suppress

from rke2_units.doors.run import run
from rke2_units.errors import UserError

_ESCAPE = re.compile(r"\\([0-7]{3})")


def mount_points(mountinfo: str) -> list[str]:
    """The mount points in the order in which they were mounted."""
    return [_unescape(line.split()[4]) for line in mountinfo.splitlines() if len(line.split()) > 4]


def below(points: Collection[str], prefixes: Collection[str]) -> list[str]:
    """Those of the mount points that begin with one of the prefixes, the last mounted first."""
    return [point for point in reversed(list(points)) if point.startswith(tuple(prefixes))]


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash are written as octal numbers."""
    return _ESCAPE.sub(lambda escaped: chr(int(escaped[1], 8)), text)


def read_mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return mount_points(file.read())


def unmount(prefixes: Collection[str]) -> int:
    """Unmounts everything whose mount point begins with one of the prefixes; returns how many that were.

    What is still in use, by a process that is not ours, is detached: it goes when that process has ended.
    """
    before = below(read_mount_points(), prefixes)
    for lazily in ([], ["--lazy"]):
        remaining = below(read_mount_points(), prefixes)
        # A command line has room for some thousand paths.
        for start in range(0, len(remaining), 200):
            # A network volume whose server is gone lets the first pass wait in vain.
            with suppress(UserError):
                run(["umount", *lazily, "--", *remaining[start : start + 200]], check=False)
    return len(before)
