"""Go's names of machines, by which images are chosen."""

import os

_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def own() -> str:
    """This machine's."""
    machine = os.uname().machine
    return _NAMES.get(machine, machine)
