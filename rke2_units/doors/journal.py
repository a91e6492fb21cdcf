"""Messages to systemd: events to the journal (systemd.journal-fields(7)), states by sd_notify(3)."""

import os
import socket
import sys
from enum import IntEnum

from rke2_units import printable

_JOURNAL_SOCKET = "/run/systemd/journal/socket"


class Level(IntEnum):
    """syslog(3)'s levels, those that we use."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


def log(level: Level, message: str, **fields: str) -> None:
    """One event: to the journal with its fields when systemd reads our stderr, else to stderr as a line.

    `fields` are journal fields (upper case names). A message of several lines becomes one line.
    """
    message = " | ".join(line for part in message.splitlines() if (line := printable.line(part)))
    if "JOURNAL_STREAM" not in os.environ:
        print(message, file=sys.stderr)
        return
    entries = {
        "MESSAGE": message,
        "PRIORITY": str(int(level)),
        "SYSLOG_IDENTIFIER": "rke2-units",
        **fields,
    }
    datagram = "".join(f"{name}={printable.line(value)}\n" for name, value in entries.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.sendto(datagram.encode(), _JOURNAL_SOCKET)
    except OSError:
        # The journal may be restarting, or the datagram too large for it; stderr is kept by systemd.
        print(f"<{int(level)}>{message}", file=sys.stderr)


def notify(**states: str | int) -> None:
    """sd_notify(3): READY=1, STATUS=..., WATCHDOG=1 and so on; nothing when systemd did not ask for it.

    Each is one line, whatever its value is.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect(address)
        manager.send(printable.notification(states))
