"""What is known of a chart archive (.tgz) without helm."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib

_VERSION = re.compile(rb"^version:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
# Chart.yaml is the first file that `helm package` puts in; a bomb is not unpacked in search of it.
_MOST_FILES = 100
_LARGEST_CHART_YAML = 1 << 20


def version(content: bytes) -> str:
    """The version in the archive's Chart.yaml, "" when none is found near its beginning."""
    try:
        # tarfile's own "r|gz" trips over the extra field that helm writes into gzip's header.
        packed = gzip.GzipFile(fileobj=io.BytesIO(content))
        with packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for _, member in zip(range(_MOST_FILES), archive, strict=False):
                if member.name.count("/") == 1 and member.name.endswith("/Chart.yaml"):
                    file = archive.extractfile(member)
                    found = _VERSION.search(file.read(_LARGEST_CHART_YAML)) if file else None
                    return found[1].decode(errors="replace") if found else ""
                if member.size > _LARGEST_CHART_YAML:
                    return ""
    except (tarfile.TarError, zlib.error, EOFError, OSError):
        pass
    return ""
