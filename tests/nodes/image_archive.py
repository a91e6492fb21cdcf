"""Image archives as `docker save` writes them, with the manifest in front as RKE2 ships them.

The same tree gives the same bytes: entries are sorted, and owned by root at time 0.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO


@dataclass(frozen=True)
class Copy:
    """A file of the host."""

    source: Path
    mode: int = 0o755


@dataclass(frozen=True)
class Text:
    """A small file."""

    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Directory:
    """An empty directory. Parents of other entries need none."""

    mode: int = 0o755


# Path in the image, without a leading slash.
Tree = Mapping[str, Copy | Text | Link | Directory]


@dataclass(frozen=True)
class Image:
    """An image of one layer. `name` is fully qualified: docker.io/rancher/rke2-runtime:v1.20.2-rke2r1."""

    name: str
    tree: Tree
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def write_archive(image: Image, archive: Path) -> None:
    """Write the image as a docker-save archive."""
    with tempfile.TemporaryFile(dir=archive.parent) as layer:
        _write_layer(image.tree, layer)
        size = layer.tell()
        layer.seek(0)
        layer_digest = hashlib.file_digest(layer, "sha256").hexdigest()
        layer.seek(0)
        config = _json(_config(image, layer_digest))
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        layer_name = f"{layer_digest}/layer.tar"
        repository, tag = image.name.rsplit(":", 1)
        manifest = [{"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]}]
        with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
            _add(tar, "manifest.json", _json(manifest))
            _add(tar, "repositories", _json({repository: {tag: layer_digest}}))
            _add(tar, config_name, config)
            entry = tarfile.TarInfo(layer_name)
            entry.size, entry.mode = size, 0o644
            tar.addfile(entry, layer)


def _write_layer(tree: Tree, layer: BinaryIO) -> None:
    entries: dict[str, Copy | Text | Link | Directory] = dict(tree)
    for path in tree:
        for parent in PurePosixPath(path).parents:
            if parent != PurePosixPath("."):
                entries.setdefault(str(parent), Directory())
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, entry in sorted(entries.items()):
            info = tarfile.TarInfo(path)
            match entry:
                case Copy(source, mode):
                    info.mode, info.size = mode, source.stat().st_size
                    with source.open("rb") as file:
                        tar.addfile(info, file)
                case Text(text, mode):
                    _add(tar, path, text.encode(), mode)
                case Link(target):
                    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
                    tar.addfile(info)
                case Directory(mode):
                    info.type, info.mode = tarfile.DIRTYPE, mode
                    tar.addfile(info)


def _config(image: Image, layer_digest: str) -> dict[str, object]:
    created = "1970-01-01T00:00:00Z"
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {
            "Env": [f"PATH={image.path}"],
            "Entrypoint": list(image.entrypoint) or None,
            "Cmd": list(image.arguments) or None,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created": created, "created_by": "rke2-units tests"}],
    }


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
