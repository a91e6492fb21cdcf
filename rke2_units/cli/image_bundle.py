"""Creates an archive of images from registries, like those that RKE2 ships for machines without a network.

The archive is what `docker save` writes: manifest.json and repositories, which RKE2 puts first, then the
images' configurations and layers. Layers are uncompressed, so that compressing the whole finds what they
have in common, and a layer that several images share is there once.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from rke2_units.doors import run
from rke2_units.doors.files import TEMPORARY_PREFIX
from rke2_units.errors import UserError
from rke2_units.images import pull
from rke2_units.images.registries import Registries
from rke2_units.lean.write import replace

# What compresses an archive of this suffix. Level and window are those of RKE2's archives.
_COMPRESSORS: Mapping[str, tuple[str, ...]] = {
    ".tar": (),
    ".tar.gz": ("gzip", "-c"),
    ".tgz": ("gzip", "-c"),
    ".tar.zst": ("zstd", "-16", "--long=25", "-T0", "-q", "-c"),
    ".tzst": ("zstd", "-16", "--long=25", "-T0", "-q", "-c"),
}
# What unpacks a layer that begins with these bytes.
_UNPACKERS = {b"\x1f\x8b": ("gzip", "-dc"), b"\x28\xb5\x2f\xfd": ("zstd", "-dc", "-q", "--long=31")}
_LARGEST_CONFIGURATION = 1 << 24
_MIB = 1 << 20

Report = Callable[[str], None]


@dataclass(frozen=True)
class _Saved:
    """An image whose parts are on disk: its name, its configuration, and its layers by their diff IDs."""

    name: str
    configuration: bytes
    layers: tuple[str, ...]

    @property
    def configuration_name(self) -> str:
        return f"{hashlib.sha256(self.configuration).hexdigest()}.json"


def write(
    output: str, images: Mapping[str, str], registries: Registries, *, tell: Report, progress: Report
) -> int:
    """Writes the archive of these images and returns its size in bytes.

    `images` has a reference to pull for each name, registry/path:tag, in the archive. UserError when an
    image cannot be pulled or the archive cannot be written; an older file of this name is then kept.
    """
    compressor = _compressor(output)
    for name in images:
        if "@" in name:
            raise UserError(
                f"{name} cannot be put into an archive, which names images by tag, not by digest"
            )
    directory, base = os.path.split(os.path.abspath(output))
    work = f"{directory}/{TEMPORARY_PREFIX}{base}.work"
    with _explained(output), _folder(work):
        os.mkdir(f"{work}/layers")
        saved = []
        for number, (name, source) in enumerate(sorted(images.items()), 1):
            origin = f" from {source}" if source != name else ""
            tell(f"image {number} of {len(images)}: {name}{origin}")
            pull.fetch(registries, source, f"{work}/image", tell=tell, progress=progress)
            saved.append(_save(name, f"{work}/image", f"{work}/layers"))
        tell(f"writing {output}")
        with (
            replace(output, 0o644, temporary=f"{work}/archive") as file,
            _compressed(compressor, file) as sink,
        ):
            _write_archive(saved, f"{work}/layers", sink, progress)
        return os.path.getsize(output)


def _compressor(output: str) -> tuple[str, ...]:
    for suffix, command in _COMPRESSORS.items():
        if output.endswith(suffix):
            if command:
                run.require(command[0])
            return command
    raise UserError(
        f"{output} does not have the suffix of an archive", hint=f"use one of {', '.join(_COMPRESSORS)}"
    )


@contextmanager
def _explained(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {output}: {error.strerror or error}",
            hint="the folder needs space for the archive and for all images, uncompressed"
            if error.errno
            else None,
        ) from error


@contextmanager
def _folder(path: str) -> Iterator[None]:
    """A folder for this run alone; the folder of a run that was killed is removed first."""
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _compressed(command: Sequence[str], file: IO[bytes]) -> Iterator[IO[bytes]]:
    if not command:
        yield file
        return
    with run.through(command, file) as sink:
        yield sink


def _save(name: str, directory: str, layers: str) -> _Saved:
    """Moves an image's layers, uncompressed, to `layers`; checks them against its configuration."""
    try:
        with open(f"{directory}/manifest.json", "rb") as file:
            manifest = json.load(file)
        with open(f"{directory}/{_hex(manifest['config']['digest'])}", "rb") as file:
            configuration = file.read(_LARGEST_CONFIGURATION)
        diff_ids = [_hex(digest) for digest in json.loads(configuration)["rootfs"]["diff_ids"]]
        blobs = [_hex(layer["digest"]) for layer in manifest["layers"]]
        for blob, diff_id in zip(blobs, diff_ids, strict=True):
            if not os.path.exists(f"{layers}/{diff_id}"):
                _unpack(f"{directory}/{blob}", f"{layers}/{diff_id}", diff_id)
    except UserError as error:
        raise UserError(f"{name} cannot be unpacked: {error.message}", hint=error.hint) from None
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise UserError(f"{name} cannot be put into an archive: {error}") from None
    return _Saved(name, configuration, tuple(diff_ids))


def _unpack(blob: str, path: str, diff_id: str) -> None:
    with open(blob, "rb") as source, replace(path, 0o600, on_disk=False) as target:
        start = source.read(4)
        source.seek(0)
        command = next((found for magic, found in _UNPACKERS.items() if start.startswith(magic)), ())
        with _compressed(command, target) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        target.flush()
        with open(target.name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != diff_id:
                raise ValueError("a layer does not match its digest")
    os.unlink(blob)


def _hex(digest: object) -> str:
    algorithm, _, found = str(digest).partition(":")
    if algorithm != "sha256" or len(found) != 64 or not set(found) <= set("0123456789abcdef"):
        raise ValueError(f"{digest!r} is not a sha256 digest")
    return found


class _Watched(io.BufferedIOBase):
    """Layers to read from, one after the other; reports the progress every second."""

    def __init__(self, total: int, progress: Report) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._next = 0.0
        self.file: IO[bytes] = io.BytesIO()

    def read(self, size: int | None = -1, /) -> bytes:
        part = self.file.read(-1 if size is None else size)
        self._done += len(part)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1
            self._progress(f"writing the archive: {self._done / _MIB:.1f} of {self._total / _MIB:.1f} MiB")
        return part


def _write_archive(saved: Sequence[_Saved], layers: str, sink: IO[bytes], progress: Report) -> None:
    manifest = [
        {
            "Config": image.configuration_name,
            "RepoTags": [image.name],
            "Layers": [_layer_name(layer) for layer in image.layers],
        }
        for image in saved
    ]
    repositories: dict[str, dict[str, str]] = {}
    for image in saved:
        repository, _, tag = image.name.rpartition(":")
        if image.layers:
            repositories.setdefault(repository, {})[tag] = image.layers[-1]
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as tar:
        _add(tar, "manifest.json", _json(manifest))
        _add(tar, "repositories", _json(repositories))
        for content, name in {image.configuration: image.configuration_name for image in saved}.items():
            _add(tar, name, content)
        sizes = {
            layer: os.path.getsize(f"{layers}/{layer}")
            for layer in dict.fromkeys(layer for image in saved for layer in image.layers)
        }
        watched = _Watched(sum(sizes.values()), progress)
        for layer, size in sizes.items():
            with open(f"{layers}/{layer}", "rb") as watched.file:
                entry = tarfile.TarInfo(_layer_name(layer))
                entry.size = size
                tar.addfile(entry, watched)


def _layer_name(diff_id: str) -> str:
    return f"{diff_id}/layer.tar"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
