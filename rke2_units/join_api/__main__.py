"""`python3 -Im rke2_units.join_api --settings FILE`: what rke2-supervisor.service executes."""

import sys

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ExitCode, UserError
from rke2_units.join_api import process, settings


def main() -> int:
    """Serve until SIGTERM; returns the exit code (errors.ExitCode), 0 after a stop."""
    if len(sys.argv) != 3 or sys.argv[1] != "--settings":
        print("usage: python3 -m rke2_units.join_api --settings FILE", file=sys.stderr)
        return ExitCode.USAGE
    try:
        process.run(settings.read(sys.argv[2]))
        return 0
    except UserError as error:
        journal.notify(STATUS=str(error))
        journal.log(Level.ERROR, str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
