"""Who listens on which port of this machine, from /proc/net and the file descriptors of processes."""

import os
import re
from collections.abc import Collection, Iterable

_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h


def listening(table: str) -> dict[int, set[str]]:
    """The socket inodes by port of the listening sockets in the text of /proc/net/tcp or tcp6."""
    found: dict[int, set[str]] = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN:
            found.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(fields[9])
    return found


def read_listening(ports: Collection[int]) -> dict[int, set[str]]:
    """The socket inodes of whatever listens on these ports, by port."""
    found: dict[int, set[str]] = {}
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name, encoding="ascii") as file:
                table = file.read()
        except OSError:
            continue
        for port, inodes in listening(table).items():
            if port in ports:
                found.setdefault(port, set()).update(inodes)
    return found


def owners(inodes: Collection[str], pids: Iterable[int]) -> dict[str, int]:
    """The process that has each of these sockets open, by inode; unreadable processes are left out."""
    found = {}
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            socket = re.fullmatch(r"socket:\[(\d+)\]", target)
            if socket and socket[1] in inodes:
                found[socket[1]] = pid
    return found
