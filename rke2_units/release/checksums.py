"""The files of checksums that sha256sum(1) writes, as RKE2 publishes them beside its artefacts."""

import re
from collections.abc import Mapping

from rke2_units.errors import ConfigurationError

# The mark before a name says that the file was read as it is, which it always is on Linux.
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>[^/\s]+)")


def parse(text: str, source: str) -> Mapping[str, str]:
    """SHA-256 (hex) by file name; ConfigurationError, with source and line, for anything else."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise ConfigurationError(f"{source}:{number}: not a line of a sha256sum file")
        if found.setdefault(match["name"], match["digest"]) != match["digest"]:
            raise ConfigurationError(f"{source}:{number}: two checksums for {match['name']}")
    return found
