"""A package of ours run as its unit does it, with a settings file, and what it tells systemd."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def _command(package: str, file: str) -> list[str]:
    return [sys.executable, "-m", package, "--settings", file]


def ended(package: str, file: str) -> subprocess.CompletedProcess[str]:
    """What became of one that ends by itself."""
    return subprocess.run(_command(package, file), capture_output=True, text=True, timeout=20)


def statuses(package: str, file: str, folder: Path) -> list[str]:
    """What one says when it begins and when it is told to end, which it does with success."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        child = subprocess.Popen(_command(package, file), env=environment, stderr=subprocess.PIPE)
        try:
            said = [manager.recv(4096).decode()]
            child.send_signal(signal.SIGTERM)
            said.append(manager.recv(4096).decode())
            assert child.wait(timeout=20) == 0
        finally:
            child.kill()
            child.communicate()
    return said
