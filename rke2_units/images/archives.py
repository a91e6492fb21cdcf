"""Archives of images, compressed or not: as `docker save` writes them and RKE2 ships them, and OCI's.

manifest.json in them: [{"Config": PATH, "RepoTags": [NAME...], "Layers": [PATH...]}]. RKE2 puts it first,
so that a compressed archive need not be read to its end to know what is in it. One that has none is an OCI
image layout (skopeo, podman): index.json leads to manifests, or further indexes, in blobs/sha256.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rke2_units.errors import UserError
from rke2_units.images.archive_files import unpacker
from rke2_units.images.references import normalise

_MANIFEST = "manifest.json"
_INDEX = "index.json"
_LARGEST = 1 << 24
# containerd's rule for the name of an image in an index (its `archive.AddRefPrefix`): a tag alone is none.
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_FULL = re.compile(r"[^-\s][^\s]*[/:@][^\s]*")
# An index of an index, as for images of several architectures, and no end of them.
_DEEPEST = 3
# What reading a damaged archive raises.
_DAMAGE = (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError)


class SavedImage:
    """One image of an archive; `config` and `layers` are paths in the archive.

    `stored_names` are those that containerd gives it at the import, `names` the same in full. In an OCI
    layout `config` is what index.json leads to, and `layers` None: in_full() has them.
    """

    def __init__(self, config: str, stored_names: list[str], layers: list[str] | None) -> None:
        self.config = config
        self.stored_names = stored_names
        self.names = [normalise(name) for name in stored_names]
        self.layers = layers


@contextmanager
def opened(path: str, source: io.BufferedReader, *, whole: bool) -> Iterator[io.BufferedReader]:
    """The uncompressed archive, as a file with a descriptor; `source` is the archive, opened.

    With `whole`, an archive that could not be unpacked to its end is a UserError; else the reader may stop
    early. The offset of `source` tells how far the work has come.
    """
    program = unpacker(path)
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
                # tarfile stops at the end mark; unread data after it would block the program.
                while output.read(1 << 20):
                    pass
                complaint = errors.read().decode(errors="replace").strip().splitlines()
                if process.wait() != 0:
                    raise UserError(f"{path} is damaged: {complaint[-1] if complaint else program[0]}")
        finally:
            process.kill()
            process.wait()


def saved_images(path: str) -> list[SavedImage]:
    """The images of an archive; UserError when it is damaged, is not an archive, or has no named image."""
    index = None
    with damage_named(path), members(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if name == _MANIFEST and member.isreg():
                return _parse(archive, member)
            if name == _INDEX and member.isreg():
                index = json.loads(content(archive, member))
        if index is not None:
            images = _indexed(index)
            if images:
                return images
            raise UserError(
                f"{path} has no image with a full name in its index.json ({_NAMES[1]})",
                hint="skopeo copy docker://REGISTRY/PATH:TAG oci-archive:FILE:REGISTRY/PATH:TAG",
            )
    raise UserError(
        f"{path} is not an archive of images: it has neither {_MANIFEST} nor {_INDEX}",
        hint="create one with `docker save`, `podman save` or skopeo",
    )


def _indexed(index: Any) -> list[SavedImage]:
    images: dict[str, list[str]] = {}
    for entry in index["manifests"]:
        annotations = entry.get("annotations") or {}
        name = next((str(annotations[key]) for key in _NAMES if annotations.get(key)), "")
        if _FULL.fullmatch(name):
            images.setdefault(_blob(entry), []).append(name)
    return [SavedImage(path, names, None) for path, names in images.items()]


def in_full(path: str, image: SavedImage) -> list[SavedImage]:
    """The image with its configuration and layers; one for each architecture that the archive has of it."""
    if image.layers is not None:
        return [image]
    found, wanted = [], [image.config]
    for depth in range(_DEEPEST):
        contents = _blobs(path, wanted)
        if not contents and depth == 0:
            raise ValueError(f"it lacks {image.config}")
        wanted = []
        for text in contents:
            value = json.loads(text)
            if "manifests" in value:
                # Entries of the architecture "unknown" are notes about an image (attestations).
                wanted += [
                    _blob(entry)
                    for entry in value["manifests"]
                    if (entry.get("platform") or {}).get("architecture") != "unknown"
                ]
            else:
                layers = [_blob(layer) for layer in value["layers"]]
                found.append(SavedImage(_blob(value["config"]), image.stored_names, layers))
    return found


def _blobs(path: str, wanted: list[str]) -> list[bytes]:
    """The contents of the wanted files that the archive has, checked by their digests."""
    if not wanted:
        return []
    found = []
    with members(path) as archive:
        for member in archive:
            name = os.path.normpath(member.name)
            if name in wanted and member.isreg():
                found.append(content(archive, member))
                if hashlib.sha256(found[-1]).hexdigest() != os.path.basename(name):
                    raise ValueError(f"{name} does not match its digest")
                if len(found) == len(wanted):
                    break
    return found


def _blob(descriptor: Any) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{_INDEX} names {descriptor['digest']!r}, which is not a sha256 digest")
    return f"blobs/sha256/{digest}"


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
        # A broken link, or a folder with the name of an archive.
        raise UserError(f"{path} cannot be read: {error.strerror}", hint="correct or remove it") from None


def _parse(archive: tarfile.TarFile, member: tarfile.TarInfo) -> list[SavedImage]:
    images = []
    for entry in json.loads(content(archive, member)):
        # containerd gives these their full names itself.
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
        raise ValueError(f"{_MANIFEST} has {value!r} instead of a path")
    return os.path.normpath(value)


@contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Turns the errors of a damaged archive into a UserError that names the archive."""
    try:
        yield
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged: {error}", hint="fetch it again") from None
