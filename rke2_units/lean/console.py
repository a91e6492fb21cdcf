"""What the programs say: lines with a priority for the journal, and a status for `systemctl status`."""

import os
import signal
import sys
import time
from collections.abc import Callable

from rke2_units import printable
from rke2_units.errors import ExitCode, UserError
from rke2_units.lean.notification import notify
from rke2_units.lean.settings import Settings, read

# sd-daemon(3): the journal takes the priority of a line from its prefix.
ERROR = 3
WARNING = 4
INFORMATION = 6


def say(text: str, priority: int = INFORMATION) -> None:
    """One line (or several, each with the priority) of printable characters to the journal."""
    sys.stderr.write("".join(f"<{priority}>{printable.visible(line)}\n" for line in text.splitlines()))
    sys.stderr.flush()


def status(text: str) -> None:
    """STATUS= of sd_notify(3), where the unit allows it (NotifyAccess=exec); nothing otherwise."""
    try:
        notify(STATUS=text)
    except OSError:
        # A status is a courtesy: its loss must not stop the work.
        pass


class Waiting:
    """Says what is waited for: the status at once, whenever that or its reason changes; the journal once for
    each subject, and every minute for as long as it lasts."""

    def __init__(self) -> None:
        self._subject = ""
        self._text = ""
        self._next = 0.0

    def report(self, subject: str, reason: str = "") -> None:
        now = time.monotonic()
        text = f"waiting for {subject}" + (f" ({reason})" if reason else "")
        if text != self._text:
            self._text = text
            status(text)
        if subject == self._subject and now < self._next:
            return
        # The first reminder tells what became of it after ten seconds, the others come once a minute.
        self._next = now + (10 if subject != self._subject else 60)
        self._subject = subject
        say(text)


def main(program: Callable[[Settings, list[str]], None], usage: str) -> None:
    """Runs a program with the settings that `--settings FILE` names; ends the process.

    An error that one line can explain is that line, in the journal and as the unit's status.
    """
    run(lambda file, arguments: program(read(file), arguments), usage)


def run(program: Callable[[str, list[str]], None], usage: str) -> None:
    """As `main`, for a program that reads a settings file of its own: it is handed the path."""
    # `systemctl stop` in the middle of a start: systemd takes a oneshot's death by SIGTERM for a failure.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] != "--settings":
        say(f"usage: {usage}", ERROR)
        sys.exit(ExitCode.USAGE)
    try:
        program(arguments[1], arguments[2:])
    except UserError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", ExitCode.FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _fail(text: str, code: int) -> None:
    if "o space left" in text:
        from rke2_units.lean.file_systems import name_full

        text = name_full(text)
    say(text, ERROR)
    status(text)
    sys.exit(int(code))
