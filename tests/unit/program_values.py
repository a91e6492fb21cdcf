"""Settings and archives of images for the tests of the programs."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rke2_units.lean.settings import Settings, read

UID = "0123456789abcdef0123456789abcdef"
IMAGE = "rancher/rke2-runtime:v1.20.2-rke2r1"
DIRECTORY = "v1.20.2-rke2r1-0123456789ab"


def settings_values(root: Path) -> dict[str, object]:
    """What the plan writes, with every path below `root`."""
    agent = root / "agent"
    return {
        "data_directory": str(root),
        "node_name": "node1",
        "containerd_socket": str(root / "run/containerd.sock"),
        "namespace": "k8s.io",
        "content": {"image": IMAGE, "directory": DIRECTORY, "archives": str(agent / "images")},
        "images": {"archives": str(agent / "images")},
        "static_pods": {
            "etcd": {
                "image": "index.docker.io/rancher/hardened-etcd:v3",
                "uid": UID,
                "staged": str(agent / "static-pods/etcd.yaml"),
                "manifest": str(agent / "pod-manifests/etcd.yaml"),
                "needs": ["kubelet"],
            }
        },
        "health_checks": {
            "kubelet": {"url": "http://127.0.0.1:1/healthz"},
            "etcd": {"url": "http://127.0.0.1:1/health", "contains": "true"},
        },
    }


def make_settings(root: Path, **changes: object) -> Settings:
    file = root / "settings.json"
    file.write_text(json.dumps(settings_values(root) | changes))
    return read(str(file))


def health_checks(**urls: str) -> dict[str, dict[str, str]]:
    return {name.replace("_", "-"): {"url": url} for name, url in urls.items()}


class Member:
    """A member of a layer: a regular file unless told otherwise."""

    def __init__(self, name: str, content: str = "", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
        self.name = name
        self.content = content.encode()
        self.kind = kind
        self.link = link

    def add(self, archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(self.name)
        member.type = self.kind
        member.linkname = self.link
        member.size = len(self.content)
        archive.addfile(member, io.BytesIO(self.content))


def layer(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            member.add(archive)
    return buffer.getvalue()


def configuration(layers: Sequence[bytes], architecture: str = "amd64") -> bytes:
    """An image's configuration; compressed layers count by their content, as the specification has it."""
    digests = [f"sha256:{hashlib.sha256(_uncompressed(item)).hexdigest()}" for item in layers]
    value = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}}
    return json.dumps(value).encode()


def _uncompressed(item: bytes) -> bytes:
    if item[:2] == b"\x1f\x8b":
        return gzip.decompress(item)
    if item[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(
            ["zstd", "-dcq", "--long=27"], input=item, stdout=subprocess.PIPE, check=True
        ).stdout
    return item


def image_files(
    names: Sequence[str], layers: Sequence[bytes], architecture: str = "amd64"
) -> tuple[dict[str, object], dict[str, bytes]]:
    """An image's entry in manifest.json, and its files in the archive."""
    config = configuration(layers, architecture)
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    paths = [f"{hashlib.sha256(item).hexdigest()}-{number}/layer.tar" for number, item in enumerate(layers)]
    entry: dict[str, object] = {"Config": config_name, "RepoTags": list(names), "Layers": paths}
    return entry, {config_name: config, **dict(zip(paths, layers, strict=True))}


def archive_bytes(
    *images: tuple[dict[str, object], Mapping[str, bytes]], manifest_first: bool = True
) -> bytes:
    """An archive as `docker save` makes it, or (with the manifest first) as RKE2 ships it."""
    manifest = {"manifest.json": json.dumps([entry for entry, _ in images]).encode()}
    files = {name: content for _, contents in images for name, content in contents.items()}
    return tar(manifest | files if manifest_first else files | manifest)


def oci_archive(
    layers: Sequence[bytes],
    annotations: Mapping[str, str],
    *architectures: str,
    lacking: str = "",
) -> bytes:
    """An OCI image layout, as skopeo and podman write it; with architectures, an index of an index.

    Of the architecture `lacking`, only the name in the index is there.
    """
    blobs: dict[str, bytes] = {}

    def blob(content: bytes, kind: str, **more: object) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    def manifest(architecture: str) -> bytes:
        value = {
            "schemaVersion": 2,
            "config": blob(configuration(layers, architecture), "config.v1+json"),
            "layers": [blob(item, "layer.v1.tar+gzip") for item in layers],
        }
        return json.dumps(value).encode()

    def entry(content: bytes, architecture: str) -> dict[str, object]:
        platform = {"architecture": architecture, "os": "linux"}
        return blob(content, "manifest.v1+json", platform=platform)

    kind = "index.v1+json" if architectures else "manifest.v1+json"
    if architectures:
        entries = [entry(manifest(each), each) for each in architectures]
        entries.append(entry(b"notes, and no JSON", "unknown"))
        for each in entries:
            if lacking and f"'{lacking}'" in str(each["platform"]):
                del blobs[f"blobs/sha256/{str(each['digest']).removeprefix('sha256:')}"]
        top = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    else:
        top = manifest("amd64")
    index_json = {"schemaVersion": 2, "manifests": [blob(top, kind, annotations=dict(annotations))]}
    index = {"index.json": json.dumps(index_json).encode()}
    return tar({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', **blobs, **index})


def tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def pulled_files(directory: Path, layers: Sequence[bytes], architecture: str = "amd64") -> bytes:
    """Writes an image as pull.py leaves it; returns the manifest."""

    def blob(content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (directory / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": blob(configuration(layers, architecture)),
        "layers": [blob(item) for item in layers],
    }
    text = json.dumps(manifest).encode()
    (directory / "manifest.json").write_bytes(text)
    return text


def runtime_archive(*layers: bytes, architecture: str = "amd64", name: str = f"docker.io/{IMAGE}") -> bytes:
    return archive_bytes(image_files([name], layers or [RUNTIME_LAYER], architecture))


RUNTIME_LAYER = layer(
    Member("bin/", kind=tarfile.DIRTYPE),
    Member("bin/containerd", "containerd"),
    Member("bin/aux/helper", "helper"),
    Member("charts/rke2-coredns.yaml", "chart"),
    Member("etc/passwd", "not ours"),
)
