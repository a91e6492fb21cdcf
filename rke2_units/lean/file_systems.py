"""Which file system is full: the programs that find out say no more than that there is no space left."""

import os
import re

_NO_SPACE = "no space left on device"
# An absolute path in a text, but for what follows a host in a URL.
_PATH = re.compile(r"""(?<![\w:/.-])/[^\s:;,'"()]+""")
# Those of disks, and of memory; one on another machine may never answer.
_OF_THIS_MACHINE = frozenset(("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))
# Pods' own, which are many.
_OF_PODS = re.compile(r"/pods/|/run/k3s/containerd/|/sandboxes/|/rootfs$")
_MIB = 1 << 20
# What was being written when the space ended may be removed by now.
_FULL = 0.02


def name_full(text: str) -> str:
    """The text; where it says that there is no space left, with what it is about and how much is free there.

    Those are the file systems of the paths in it, else all of this machine that are full.
    """
    if _NO_SPACE not in text.lower() or " MiB free" in text:
        return text
    named = dict.fromkeys(_mount_point(path) for path in _PATH.findall(text))
    found = [_said(mount) for mount in named] or [_said(mount) for mount in _mounts() if _is_full(mount)]
    return f"{text}; {', '.join(found)}" if found else text


def _mount_point(path: str) -> str:
    """Where the file system that has the path, or would have it, is mounted."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def _mounts() -> list[str]:
    """The mount points of this machine's file systems, each of these once, in their order."""
    found: dict[int, str] = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            _, mount, kind, _ = line.split(" ", 3)
            if kind not in _OF_THIS_MACHINE or _OF_PODS.search(mount):
                continue
            try:
                found.setdefault(os.stat(mount).st_dev, mount)
            except OSError:
                continue
    return list(found.values())


def _is_full(mount: str) -> bool:
    status = os.statvfs(mount)
    no_inodes = status.f_files > 0 and status.f_favail == 0
    return status.f_blocks > 0 and (status.f_bavail < _FULL * status.f_blocks or no_inodes)


def _said(mount: str) -> str:
    status = os.statvfs(mount)
    inodes = ", and no free inodes" if status.f_files > 0 and status.f_favail == 0 else ""
    free, size = (count * status.f_frsize // _MIB for count in (status.f_bavail, status.f_blocks))
    return f"the file system at {mount} has {free} of {size} MiB free{inodes}"
