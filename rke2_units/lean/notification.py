"""sd_notify(3): what a process tells systemd about itself."""

import os

from rke2_units import printable


def notify(**states: str | int) -> None:
    """READY=1, STATUS=..., WATCHDOG=1 and so on, each as one line; nothing when systemd does not listen.

    Raises OSError when systemd cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    import socket

    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(printable.notification(states), address)
