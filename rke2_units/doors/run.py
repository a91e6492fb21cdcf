"""The one door to other programs: an environment of our own, no standard input, errors that explain.

For commands and the daemon. What must start within 100 ms uses rke2_units.lean.processes, as subprocess
takes longer to import than that leaves.
"""

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from rke2_units.errors import UserError
from rke2_units.layout import SYSTEM_PATH

_PATH = SYSTEM_PATH
_ENVIRONMENT = {"PATH": _PATH, "LANG": "C.UTF-8"}

# The Debian package that brings each program that we run or that the node's parts need.
PACKAGES = {
    "conntrack": "conntrack",
    "gzip": "gzip",
    "ip": "iproute2",
    "ip6tables": "iptables",
    "iptables": "iptables",
    "journalctl": "systemd",
    "modprobe": "kmod",
    "mount": "mount",
    "rm": "coreutils",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
    "sysctl": "procps",
    "systemctl": "systemd",
    "umount": "mount",
    "zstd": "zstd",
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


def require(program: str) -> str:
    """The path of the program; UserError, with the package that brings it, when it is not installed."""
    path = find(program)
    if path is None:
        package = PACKAGES.get(program)
        raise UserError(
            f"the program {program} is not installed",
            hint=f"apt install {package}" if package else f"looked for in {_PATH}",
        )
    return path


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
    program = require(command[0])
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
        raise UserError(f"{shlex.join(command)} did not finish within {timeout:g} seconds") from None
    except OSError as error:
        raise UserError(f"cannot run {program}: {error.strerror or error}") from error
    if check and ended.returncode != 0:
        raise _failed(command, ended.returncode, ended.stderr or ended.stdout)
    return Completed(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def through(command: Sequence[str], output: IO[bytes]) -> Iterator[IO[bytes]]:
    """A file to write to: what is written goes through the program into `output`.

    UserError when the program is missing or fails.
    """
    program = require(command[0])
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [program, *command[1:]], stdin=subprocess.PIPE, stdout=output, stderr=errors, env=_ENVIRONMENT
        )
        try:
            with suppress(BrokenPipeError), process.stdin as source:  # type: ignore[union-attr]
                # A program that ended early is told by its status.
                yield source
            status = process.wait()
        finally:
            process.kill()
            process.wait()
        if status != 0:
            errors.seek(0)
            raise _failed(command, status, errors.read().decode(errors="replace"))


def _failed(command: Sequence[str], status: int, said: str) -> UserError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    how = f"exit status {status}" if status > 0 else f"signal {-status}"
    last = " | ".join(lines[-_LAST_LINES:])
    return UserError(f"{shlex.join(command)} failed ({how})" + (f": {last}" if last else ""))
