"""An image as pull.py leaves it: manifest.json, and the blobs named by the hex of their digests."""

import hashlib
import io
import json
import os
import tarfile

from rke2_units.errors import UserError

# Of manifests without a mediaType of their own.
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_BUFFER = 1 << 20


class PulledImage:
    """A pulled image: the digests of its parts, and in `blobs` where they are; `name` is for messages."""

    def __init__(self, name: str, directory: str) -> None:
        with open(f"{directory}/manifest.json", "rb") as file:
            self.manifest = file.read()
        try:
            manifest = json.loads(self.manifest)
            self.media_type = str(manifest.get("mediaType") or _OCI_MANIFEST)
            self.config = str(manifest["config"]["digest"])
            self.layers = [str(layer["digest"]) for layer in manifest["layers"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{name}: its manifest is not that of an image") from None
        self.blobs = {
            digest: f"{directory}/{os.path.basename(digest.partition(':')[2])}"
            for digest in (self.config, *self.layers)
        }
        for digest, path in self.blobs.items():
            if not os.path.isfile(path):
                raise UserError(f"{name}: the pull left out its {digest}")

    def write_archive(self, name: str, output: io.BufferedWriter) -> None:
        """Writes the image as an OCI layout (image-layout.md), which `ctr images import` reads.

        containerd stores it under `name`; the manifest, and with it the digest, is the registry's.
        """
        digest = hashlib.sha256(self.manifest).hexdigest()
        index = {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": self.media_type,
                    "digest": f"sha256:{digest}",
                    "size": len(self.manifest),
                    "annotations": {"io.containerd.image.name": name},
                }
            ],
        }
        with tarfile.open(fileobj=output, mode="w|", bufsize=_BUFFER) as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            _add(archive, "index.json", json.dumps(index).encode())
            _add(archive, f"blobs/sha256/{digest}", self.manifest)
            for blob, path in self.blobs.items():
                algorithm, _, value = blob.partition(":")
                archive.add(path, f"blobs/{algorithm}/{value}")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
