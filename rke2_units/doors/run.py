"""The one door to other programs: an environment of our own, no standard input, errors that explain."""

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rke2_units.errors import UserError
from rke2_units.names import SYSTEM_PATH

_PATH = SYSTEM_PATH
_ENVIRONMENT = {"PATH": _PATH, "LANG": "C.UTF-8"}

# The Debian package that brings each program that we run or that the node's parts need.
PACKAGES = {
    "conntrack": "conntrack",
    "ip": "iproute2",
    "ip6tables": "iptables",
    "iptables": "iptables",
    "journalctl": "systemd",
    "modprobe": "kmod",
    "mount": "mount",
    "rm": "coreutils",
    "sysctl": "procps",
    "systemctl": "systemd",
    "umount": "mount",
}
_LAST_LINES = 5


@dataclass(frozen=True)
class Completed:
    """What a program that ended gave: its exit status (negative: the signal), its output and its errors."""

    status: int
    output: str
    errors: str


def find(program: str) -> str | None:
    """The path of the program, None when it is not installed."""
    return shutil.which(program, path=_PATH)


def run(
    command: Sequence[str],
    *,
    input: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = 60,
    check: bool = True,
) -> Completed:
    """Runs the program to its end and returns what it gave.

    `environment` is added to ours (PATH and LANG, nothing of the caller's), `timeout` is in seconds. A
    missing program, one that takes too long and, with `check`, one that fails raise UserError.
    """
    program = find(command[0])
    if program is None:
        package = PACKAGES.get(command[0])
        raise UserError(
            f"the program {command[0]} is not installed",
            hint=f"apt install {package}" if package else f"looked for in {_PATH}",
        )
    try:
        ended = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL if input is None else None,
            input=input,
            capture_output=True,
            text=True,
            errors="replace",
            env={**_ENVIRONMENT, **(environment or {})},
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{shlex.join(command)} has not ended within {timeout:g} seconds") from None
    except OSError as error:
        raise UserError(f"cannot run {program}: {error.strerror or error}") from error
    if check and ended.returncode != 0:
        lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        how = f"exit status {ended.returncode}" if ended.returncode > 0 else f"signal {-ended.returncode}"
        said = " | ".join(lines[-_LAST_LINES:])
        raise UserError(f"{shlex.join(command)} failed ({how})" + (f": {said}" if said else ""))
    return Completed(ended.returncode, ended.stdout, ended.stderr)
