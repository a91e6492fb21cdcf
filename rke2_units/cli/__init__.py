"""The command line: rke2-units. `--version` answers before anything heavy is imported."""

import sys

from rke2_units import __version__


def main() -> None:
    """The entry point of the program; ends the process."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"rke2-units {__version__}")
        return
    from rke2_units.cli.invoke import invoke

    sys.exit(invoke(arguments))
