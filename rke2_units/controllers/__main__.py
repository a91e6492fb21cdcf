"""`python3 -Im rke2_units.controllers --settings FILE`: what rke2-controllers.service runs."""

import sys

from rke2_units.controllers import process, settings
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ExitCode, UserError


def main() -> int:
    """Run the controllers; returns their exit code (errors.ExitCode), 0 after a stop."""
    if len(sys.argv) != 3 or sys.argv[1] != "--settings":
        print("usage: python3 -m rke2_units.controllers --settings FILE", file=sys.stderr)
        return ExitCode.USAGE
    try:
        return process.run(settings.read(sys.argv[2]))
    except UserError as error:
        journal.notify(STATUS=str(error))
        journal.log(Level.ERROR, str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
