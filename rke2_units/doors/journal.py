"""Messages to systemd: events to the journal (systemd.journal-fields(7)), states by sd_notify(3)."""

import os
import socket
import sys
from enum import IntEnum

from rke2_units import printable

# The processes that write to the journal also tell systemd their states.
from rke2_units.lean.notification import notify as notify

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
