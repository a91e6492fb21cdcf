"""Runs a program and returns its output, for units' programs, which start within 100 ms.

With posix_spawn, because importing subprocess would double a gate's start. Commands and the daemon
run programs through rke2_units.doors.run.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Mapping

from rke2_units.errors import UserError


class TookTooLongError(UserError):
    """The program was killed because its time was over."""


class Finished:
    """How a program ended: `code` as a shell has it (128 + signal), and what it wrote."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors

    @property
    def last_words(self) -> str:
        """The last line of what it complained about."""
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


def run(
    command: list[str],
    *,
    timeout: float,
    hint: str = "",
    stdin: int | None = None,
    tick: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Runs the command to its end; after `timeout` seconds it is killed and TookTooLongError raised.

    `hint` says where the program comes from, for a machine that lacks it; `tick` is called every second,
    and what it raises ends the program. `environment` takes the place of our own.
    """
    # Files in memory, not pipes: nothing has to be read while the program runs.
    output = os.memfd_create("output")
    errors = os.memfd_create("errors")
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            process = os.posix_spawnp(
                command[0],
                command,
                os.environ if environment is None else environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing if stdin is None else stdin, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, errors, 2),
                ],
            )
        except FileNotFoundError:
            raise UserError(f"the program {command[0]} is not there", hint=hint or None) from None
        except OSError as error:
            raise UserError(f"{command[0]} cannot be started: {error.strerror}") from None
        code = _wait(process, timeout, tick)
        if code is None:
            program = os.path.basename(command[0])
            raise TookTooLongError(f"{program} {command[-1]} took more than {timeout:.0f} s")
        return Finished(code, _content(output), _content(errors))
    finally:
        for descriptor in (output, errors, nothing):
            os.close(descriptor)


def _wait(process: int, timeout: float, tick: Callable[[], None] | None) -> int | None:
    """The exit code, None when the time was over and the process was killed."""
    handle = os.pidfd_open(process)
    end = time.monotonic() + timeout
    ended = False
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while not ended and (left := end - time.monotonic()) > 0:
            ended = bool(poll.poll(1000 * (min(left, 1.0) if tick else left)))
            if tick:
                tick()
    finally:
        if not ended:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        os.close(handle)
    code = os.waitstatus_to_exitcode(status)
    return (128 - code if code < 0 else code) if ended else None


def _content(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return file.read().decode(errors="replace")
