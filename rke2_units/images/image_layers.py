"""The files of an image, out of its layers (OCI image specification, layer.md), without unpacking paths.

Content goes into numbered files and paths stay values until the end: no name in an archive can lead a
write anywhere.
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rke2_units.errors import UserError
from rke2_units.images.archives import reader

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class Entry:
    """What a path of the image is: a regular file's content on disk, or a symbolic link's target."""

    def __init__(self, content: str = "", target: str = "") -> None:
        self.content = content
        self.target = target


class Part(io.BufferedIOBase):
    """A part of a file, to read from."""

    def __init__(self, file: io.BufferedIOBase, start: int, size: int) -> None:
        self._file = file
        self._left = size
        file.seek(start)

    def read(self, size: int | None = -1, /) -> bytes:
        part = self._file.read(self._left if size is None or size < 0 else min(size, self._left))
        self._left -= len(part)
        return part

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay unread."""
        part = self._file.read(min(size, self._left))
        self._file.seek(-len(part), os.SEEK_CUR)
        return part


class Image:
    """The files of an image below some top directories, as its layers are put on each other."""

    def __init__(self, tops: tuple[str, ...], directory: str) -> None:
        self._tops = tops
        self._directory = directory
        self._count = 0
        self.entries: dict[str, Entry] = {}

    def add_layer(self, layer: Part, diff_id: str) -> None:
        """Puts the next layer (a tar, plain or with gzip or zstd) on those before; checks its digest."""
        added: dict[str, Entry] = {}
        hidden: list[str] = []
        with _uncompressed(layer) as read:
            digest = _Digest(read)
            with tarfile.open(fileobj=digest, mode="r|", bufsize=1 << 20) as archive:
                for member in archive:
                    self._add_member(archive, member, added, hidden)
            digest.read_rest()
        if digest.hexdigest() != diff_id.removeprefix("sha256:"):
            raise ValueError("a layer's content does not match its digest")
        # A file takes the place of a directory, and a directory that of a file.
        hidden += [f"{path}/" for path in added]
        files = {ancestor for path in added for ancestor in _ancestors(path)}
        lower = {
            path: entry
            for path, entry in self.entries.items()
            if path not in files and not any(covers(h, path) for h in hidden)
        }
        self.entries = lower | added

    def _add_member(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, added: dict[str, Entry], hidden: list[str]
    ) -> None:
        path = image_path(member.name)
        directory, _, name = path.rpartition("/")
        if name == _OPAQUE:
            hidden.append(f"{directory}/" if directory else "")
            return
        if name.startswith(_WHITEOUT):
            hidden.append(f"{directory}/{name[len(_WHITEOUT) :]}".lstrip("/"))
            return
        if path.partition("/")[0] not in self._tops or member.isdir():
            return
        if member.isreg():
            added[path] = Entry(content=self._store(archive, member))
        elif member.issym():
            added[path] = Entry(target=member.linkname)
        elif member.islnk():
            linked = image_path(member.linkname)
            if (entry := added.get(linked) or self.entries.get(linked)) is None:
                raise UserError(f"the image's {path} is a hard link to {linked}, which does not exist in it")
            added[path] = entry
        else:
            raise UserError(f"the image's {path} is neither a file nor a link", hint="use RKE2's own image")

    def _store(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
        self._count += 1
        path = f"{self._directory}/{self._count}"
        with open(path, "xb") as file:
            shutil.copyfileobj(reader(archive, member), file, 1 << 20)
        return path

    def resolve(self, path: str) -> str:
        """The path of the regular file that a path leads to; UserError when links lead out of the image."""
        seen = path
        for _ in range(40):
            entry = self.entries.get(seen)
            if entry is None:
                break
            if entry.content:
                return seen
            base = "" if entry.target.startswith("/") else os.path.dirname(seen)
            parts: list[str] = []
            for part in f"{base}/{entry.target}".split("/"):
                if part == "..":
                    if not parts:
                        raise UserError(f"the image's link {path} leads out of the image ({entry.target})")
                    parts.pop()
                elif part not in ("", "."):
                    parts.append(part)
            seen = "/".join(parts)
        raise UserError(f"the image's link {path} leads to {seen}, which is not extracted")


def image_path(name: str) -> str:
    """A member's path below the image's root; UserError for a path that leaves the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise UserError(
            f"the image has a path that leads out of the image: {name!r}", hint="use RKE2's own image"
        )
    return "/".join(parts)


def _ancestors(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def covers(hidden: str, path: str) -> bool:
    """Whether what is hidden covers a path: itself and all below, or (with a last /) only what is below."""
    below = hidden if hidden.endswith("/") or not hidden else f"{hidden}/"
    return path.startswith(below) or path == hidden


@contextmanager
def _uncompressed(layer: Part) -> Iterator[Callable[[int], bytes]]:
    magic = layer.peek(4)
    if magic.startswith(b"\x1f\x8b"):
        import gzip

        yield gzip.GzipFile(fileobj=layer).read
    elif magic == b"\x28\xb5\x2f\xfd":
        with _without_zstd(layer) as read:
            yield read
    else:
        yield layer.read


@contextmanager
def _without_zstd(layer: Part) -> Iterator[Callable[[int], bytes]]:
    """Decompresses a layer with the program zstd, as Python lacks it. The layer's digest reveals damage."""
    import subprocess
    import threading

    try:
        process = subprocess.Popen(
            ["zstd", "-dcq", "--long=27"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except FileNotFoundError:
        raise UserError("the image's layers need the program zstd", hint="apt install zstd") from None
    packed, unpacked = process.stdin, process.stdout
    if packed is None or unpacked is None:
        raise TypeError("both are pipes")

    def feed() -> None:
        try:
            with packed:
                shutil.copyfileobj(layer, packed, 1 << 20)
        except BrokenPipeError:
            # zstd has ended: the layer is damaged.
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with unpacked:
            yield unpacked.read
    finally:
        process.kill()
        feeder.join()
        process.wait()


class _Digest(io.BufferedIOBase):
    """A file to read from, that computes the SHA-256 of what passes."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._source = read
        self._hash = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        part = self._source(-1 if size is None else size)
        self._hash.update(part)
        return part

    def read_rest(self) -> None:
        while self.read(1 << 20):
            pass

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
