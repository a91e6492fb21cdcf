import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.images.pulled_image import PulledImage
from tests.unit.program_values import RUNTIME_LAYER, Member, layer, pulled_files

NAME = "docker.io/rancher/x:1"


def archive_of(image: PulledImage, tmp_path: Path) -> dict[str, bytes]:
    path = tmp_path / "archive.tar"
    with open(path, "wb") as file:
        image.write_archive(NAME, file)
    with tarfile.open(path) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive]
    assert len(files) == len({name for name, _ in files})
    with tarfile.open(path) as archive:
        return {member.name: (archive.extractfile(member) or io.BytesIO()).read() for member in archive}


def test_the_archive_has_the_registrys_manifest_under_the_images_name(tmp_path: Path) -> None:
    directory = tmp_path / "image"
    directory.mkdir()
    other = layer(Member("file", "x" * 70000))
    # A layer that occurs twice is one blob.
    manifest = pulled_files(directory, [RUNTIME_LAYER, other, RUNTIME_LAYER])
    files = archive_of(PulledImage("x", str(directory)), tmp_path)
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files.pop("index.json"))["manifests"]
    assert entry == {
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        "size": len(manifest),
        "annotations": {"io.containerd.image.name": NAME},
    }
    assert manifest in files.values() and other in files.values() and RUNTIME_LAYER in files.values()
    assert len(files) == 4
    assert all(
        name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in files.items()
    )


def test_a_manifest_without_a_type_is_ocis(tmp_path: Path) -> None:
    pulled_files(tmp_path, [RUNTIME_LAYER])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["mediaType"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert PulledImage("x", str(tmp_path)).media_type == "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"config": {}}', '{"manifests": []}'])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match="rancher/x:1: its manifest is not that of an image"):
        PulledImage("rancher/x:1", str(tmp_path))


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    pulled_files(tmp_path, [RUNTIME_LAYER])
    digest = hashlib.sha256(RUNTIME_LAYER).hexdigest()
    (tmp_path / digest).unlink()
    with pytest.raises(UserError, match=f"rancher/x:1: the pull left out its sha256:{digest}"):
        PulledImage("rancher/x:1", str(tmp_path))


def test_a_digest_cannot_lead_elsewhere(tmp_path: Path) -> None:
    directory = tmp_path / "image"
    directory.mkdir()
    (tmp_path / "secret").touch()
    pulled_files(directory, [])
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["layers"] = [{"digest": "sha256:../secret"}]
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="the pull left out its sha256:../secret"):
        PulledImage("x", str(directory))
