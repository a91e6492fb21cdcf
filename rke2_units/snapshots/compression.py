"""A snapshot as a zip archive of one entry, which is what RKE2 writes and reads."""

import zipfile
from collections.abc import Callable

from rke2_units.lean import write

_CHUNK = 1 << 20


def compress(path: str, target: str, name: str, tick: Callable[[int], None]) -> None:
    """Writes the file at PATH into a new archive TARGET (0600), as NAME; an error leaves no archive.

    `tick` is called all the time with the number of bytes that are done.
    """
    # With its size, as beyond 4 GiB an archive has another form. And with its time, which is now; where the
    # clock was never set, it is before 1980, the first year of such archives.
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with (
        open(path, "rb") as source,
        write.stage(target, 0o600) as file,
        zipfile.ZipFile(file, "w") as archive,
        archive.open(entry, "w") as content,
    ):
        done = 0
        while chunk := source.read(_CHUNK):
            content.write(chunk)
            done += len(chunk)
            tick(done)
