"""Archives of images, as `docker save` writes them and RKE2 ships them, compressed or not.

manifest.json in them: [{"Config": PATH, "RepoTags": [NAME...], "Layers": [PATH...]}]. RKE2 puts it first,
so that a compressed archive need not be read to its end to know what is in it.
"""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from rke2_units.errors import UserError
from rke2_units.programs.archive_files import PROGRAMS
from rke2_units.programs.references import normalise

_MANIFEST = "manifest.json"
_LARGEST = 1 << 24


class SavedImage:
    """One image of an archive; `names` are normalised, `config` and `layers` paths in the archive."""

    def __init__(self, config: str, names: list[str], layers: list[str]) -> None:
        self.config = config
        self.names = names
        self.layers = layers


@contextmanager
def opened(path: str, source: io.BufferedReader, *, whole: bool) -> Iterator[io.BufferedReader]:
    """The uncompressed archive, as a file with a descriptor; `source` is the archive, opened.

    With `whole`, an archive that could not be unpacked to its end is a UserError; else the reader may stop
    early. The offset of `source` tells how far the work has come.
    """
    program = next(program for suffix, program in PROGRAMS.items() if path.endswith(suffix))
    if not program:
        yield source
        return
    try:
        process = subprocess.Popen(program, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise UserError(
            f"{path} cannot be read: the program {program[0]} is missing", hint=f"apt install {program[0]}"
        ) from None
    output, errors = process.stdout, process.stderr
    if not isinstance(output, io.BufferedReader) or errors is None:
        raise TypeError("a pipe is a buffered reader")
    with output, errors:
        try:
            yield output
            if whole:
                # Who reads a tar stops at its end mark; what follows would hold the program up.
                while output.read(1 << 20):
                    pass
                complaint = errors.read().decode(errors="replace").strip().splitlines()
                if process.wait() != 0:
                    raise UserError(f"{path} is damaged: {complaint[-1] if complaint else program[0]}")
        finally:
            process.kill()
            process.wait()


def saved_images(path: str) -> list[SavedImage]:
    """What an archive holds, by its manifest.json; UserError when it is damaged or not such an archive."""
    with damage_named(path), members(path) as archive:
        for member in archive:
            if member.name.removeprefix("./") == _MANIFEST and member.isreg():
                return _parse(archive, member)
    raise UserError(
        f"{path} is no archive of images: it has no {_MANIFEST}", hint="`docker save` makes them"
    )


@contextmanager
def members(path: str) -> Iterator[tarfile.TarFile]:
    """The archive to iterate over, once; a plain file is read from header to header, a pipe read through."""
    with _readable(path) as source, opened(path, source, whole=False) as file:
        with tarfile.open(fileobj=file, mode="r:" if file is source else "r|", bufsize=1 << 20) as archive:
            yield archive


def _readable(path: str) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except OSError as error:
        # A link that leads nowhere, a folder with the name of an archive.
        raise UserError(f"{path} cannot be read: {error.strerror}", hint="remove it from there") from None


def _parse(archive: tarfile.TarFile, member: tarfile.TarInfo) -> list[SavedImage]:
    images = []
    for entry in json.loads(content(archive, member)):
        names = [normalise(name) for name in entry.get("RepoTags") or ()]
        images.append(SavedImage(_path(entry["Config"]), names, [_path(layer) for layer in entry["Layers"]]))
    return images


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a small file of the archive: its manifest, or an image's configuration."""
    if member.size > _LARGEST:
        raise ValueError(f"{member.name} is too large")
    return reader(archive, member).read()


def reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedReader:
    """A regular file of the archive, to read."""
    file = archive.extractfile(member)
    if not isinstance(file, io.BufferedReader):
        raise ValueError(f"{member.name} is not a file")
    return file


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_MANIFEST} has {value!r} where a path should be")
    return os.path.normpath(value)


@contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Turns what a damaged archive causes into one line that names it."""
    try:
        yield
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise UserError(f"{path} is damaged: {error}", hint="fetch it again") from None
