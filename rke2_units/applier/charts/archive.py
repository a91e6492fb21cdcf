"""Reads a chart archive (.tgz) without helm.

Only the beginning is inflated, and only plain tar headers are read: an extended header (for a long name, for
example) may have any size, so it is skipped unread.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

_VERSION = re.compile(rb"^version:[ \t]*[\"']?([^\s\"'#]{1,128})", re.MULTILINE)
# Chart.yaml is the first file that `helm package` puts in.
_BEGINNING = 4 << 20
_MOST_FILES = 100
_LARGEST_CHART_YAML = 1 << 20
_BLOCK = 512
_FILES = (b"0", b"\0")


def version(content: bytes) -> str:
    """The version in the archive's Chart.yaml, "" when none is found near its beginning."""
    try:
        # 16 selects gzip's header, including the extra field that helm writes.
        beginning = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(content, _BEGINNING)
    except zlib.error:
        return ""
    for name, data in _members(beginning):
        if name.removeprefix("./").count("/") == 1 and name.endswith("/Chart.yaml"):
            found = _VERSION.search(data)
            return found[1].decode(errors="replace") if found else ""
    return ""


def _members(tar: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of the first files; the last content may be cut off."""
    at = 0
    for _ in range(_MOST_FILES):
        header = tar[at : at + _BLOCK]
        size = header[124:136].strip(b" \0")
        if len(header) < _BLOCK or not re.fullmatch(rb"[0-7]{1,11}", size):
            return
        at += _BLOCK
        length = int(size, 8)
        if header[156:157] in _FILES:
            yield _name(header), tar[at : at + min(length, _LARGEST_CHART_YAML)]
        at += -(-length // _BLOCK) * _BLOCK


def _name(header: bytes) -> str:
    name, prefix = (
        field.partition(b"\0")[0].decode(errors="replace") for field in (header[:100], header[345:500])
    )
    return f"{prefix}/{name}" if prefix and header[257:262] == b"ustar" else name
