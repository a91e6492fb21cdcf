"""Runs a command line and turns every error into one line, a hint and an exit status."""

import os
import sys
import traceback
from collections.abc import Sequence

import click

from rke2_units.cli.commands import command
from rke2_units.errors import ExitCode, UserError
from rke2_units.printable import visible

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def invoke(arguments: Sequence[str]) -> int:
    """Runs the command line (without the program's name) and returns the exit status."""
    debug = "--debug" in arguments
    try:
        result = command.main(list(arguments), prog_name="rke2-units", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "rke2-units"
        _say(" ".join(error.format_message().split()).rstrip("."), f"see {path} --help")
        return ExitCode.USAGE
    except click.ClickException as error:
        _say(error.format_message())
        return ExitCode.FAILURE
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted", "run it again to complete it")
        return _INTERRUPTED
    except UserError as error:
        if debug:
            traceback.print_exc()
        for each in error.each():
            _say(each.message, each.hint)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has ended; avoids a second error when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(f"{type(error).__name__}: {error}", "this is a defect of rke2-units; --debug shows where")
        return ExitCode.FAILURE


def _say(message: str, hint: str | None = None) -> None:
    line = " | ".join(part.strip() for part in message.splitlines() if part.strip())
    print(f"rke2-units: {visible(line)}", file=sys.stderr)
    if hint:
        print(f"  -> {visible(hint)}", file=sys.stderr)
