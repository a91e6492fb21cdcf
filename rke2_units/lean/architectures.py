"""Go's names of machines, by which images are chosen."""

import os

NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def own() -> str:
    """This machine's."""
    machine = os.uname().machine
    return NAMES.get(machine, machine)
