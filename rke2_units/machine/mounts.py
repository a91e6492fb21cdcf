"""The mounts of this machine, as /proc/self/mountinfo shows them (proc(5)), and how to unmount them."""

import os
import re
from collections.abc import Collection
from contextlib import suppress

from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import UserError

_ESCAPE = re.compile(r"\\([0-7]{3})")
_FIELD = re.compile(r"[^ \t]+")


def mount_points(mountinfo: str) -> list[str]:
    """The mount points in the order in which they were mounted."""
    # Of all white space the kernel escapes only what it separates with: split() would find more in a path.
    lines = [line.split(" ") for line in mountinfo.split("\n")]
    return [_unescape(fields[4]) for fields in lines if len(fields) > 4]


def below(points: Collection[str], prefixes: Collection[str]) -> list[str]:
    """Those of the mount points that begin with one of the prefixes, the last mounted first."""
    return [point for point in reversed(list(points)) if point.startswith(tuple(prefixes))]


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash are written as octal numbers."""
    return _ESCAPE.sub(lambda escaped: chr(int(escaped[1], 8)), text)


def read_mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return mount_points(file.read())


def of_administrator() -> set[str]:
    """The mount points that an administrator has set up: in /etc/fstab, or by a .mount unit with a file.

    systemd has a unit for every mount, and a file (FragmentPath=) only for those that somebody has written.
    """
    said = run(["systemctl", "show", "--property=Where,FragmentPath", "*.mount"], check=False).output
    units = [
        dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in said.split("\n\n")
    ]
    written = [unit.get("Where", "") for unit in units if unit.get("FragmentPath")]
    table = _fstab(files.read_text("/etc/fstab") or "")
    return {os.path.realpath(point) for point in (*written, *table) if point}


def _fstab(text: str) -> list[str]:
    lines = [_FIELD.findall(line) for line in text.split("\n") if not line.lstrip().startswith("#")]
    return [_unescape(fields[1]) for fields in lines if len(fields) > 1 and fields[1].startswith("/")]


def without(points: Collection[str], kept: Collection[str]) -> list[str]:
    """The mount points but for those to be kept, and those around them: they would be taken along."""
    return [
        point
        for point in points
        if not any(f"{keep.rstrip('/')}/".startswith(f"{point.rstrip('/')}/") for keep in kept)
    ]


def unmount(points: Collection[str]) -> int:
    """Unmounts what is mounted at these points; returns how many there are.

    A mount that another process still uses is detached: it disappears when that process ends.
    """
    wanted = set(points)
    before = [point for point in read_mount_points() if point in wanted]
    for lazily in ([], ["--lazy"]):
        remaining = [point for point in reversed(read_mount_points()) if point in wanted]
        # A command line has room for some thousand paths.
        for start in range(0, len(remaining), 200):
            # The first pass times out on a network volume whose server is gone.
            with suppress(UserError):
                run(["umount", *lazily, "--", *remaining[start : start + 200]], check=False)
    return len(before)
