"""`python3 -Im rke2_units.daemon ROLE`: what rke2-server.service and rke2-agent.service execute."""

import os
import sys
import traceback

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ExitCode, UserError
from rke2_units.lean.file_systems import name_full
from rke2_units.unit_names import Role


def main() -> int:
    """Run the daemon; returns its exit code (errors.ExitCode), 0 after a stop."""
    if len(sys.argv) != 2 or sys.argv[1] not in tuple(Role):
        print("usage: python3 -m rke2_units.daemon server|agent", file=sys.stderr)
        return ExitCode.USAGE
    # Imported here, so that STATUS= is set before the libraries are loaded.
    journal.notify(STATUS="reading the configuration")
    try:
        from rke2_units.daemon.inputs import Mended
        from rke2_units.daemon.node_daemon import NodeDaemon
        from rke2_units.doors.dbus import Systemd

        try:
            with Systemd() as systemd:
                NodeDaemon(Role(sys.argv[1]), systemd).run()
        except Mended:
            journal.log(Level.NOTICE, "the configuration has changed: starting again with it")
            # For systemd it is the same process, and its job continues; nothing of the old attempt remains.
            os.execv(sys.executable, sys.orig_argv)  # noqa: S606
    except UserError as error:
        return _fail(error.exit_code, str(error), *map(str, error.each()))
    except OSError as error:
        # A full disk, a lost file system: one line, and systemd restarts the daemon.
        text = f"the node's files cannot be read or written: {error}"
        return _fail(ExitCode.FAILURE, text, text)
    except Exception as error:
        journal.log(Level.ERROR, f"unexpected: {error!r}", TRACEBACK=traceback.format_exc())
        traceback.print_exc()
        return ExitCode.FAILURE
    return 0


def _fail(code: ExitCode, status: str, *lines: str) -> ExitCode:
    journal.notify(STATUS=name_full(status))
    for line in lines:
        journal.log(Level.ERROR, name_full(line))
    return code


if __name__ == "__main__":
    sys.exit(main())
