"""The archive that `images bundle` makes; pulling itself is tested with rke2_units.images.pull."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from rke2_units.cli import image_bundle
from rke2_units.errors import UserError
from rke2_units.images import archives
from rke2_units.images.registries import Registries
from rke2_units.lean.json_table import Table

REGISTRIES = Registries(Table("", {}))
BASE, PAUSE, ETCD = b"base" * 5000, b"pause" * 300, b"etcd" * 4000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-c", "-q"], input=content, capture_output=True, check=True).stdout


class Registry:
    """Images as skopeo's `dir:` leaves them: manifest.json, and blobs by the hex of their digests."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}

    def add(self, name: str, layers: list[tuple[bytes, bytes]]) -> None:
        """`layers` are the contents of each layer and its blob."""
        configuration = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer, _ in layers]},
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": f"sha256:{sha256(configuration)}", "size": len(configuration)},
            "layers": [{"digest": f"sha256:{sha256(blob)}", "size": len(blob)} for _, blob in layers],
        }
        self.files[name] = {
            "manifest.json": json.dumps(manifest).encode(),
            sha256(configuration): configuration,
            **{sha256(blob): blob for _, blob in layers},
        }

    def fetch(self, registries: object, reference: str, directory: str, **_: object) -> str:
        if reference not in self.files:
            raise UserError(f"{reference} cannot be pulled: https://r.example/v2: it lacks the image (404)")
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        for name, content in self.files[reference].items():
            Path(directory, name).write_bytes(content)
        return "https://r.example/v2"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    made.add("docker.io/a/pause:1", [(BASE, gzip.compress(BASE)), (PAUSE, PAUSE)])
    made.add("docker.io/a/etcd:2", [(BASE, zstd(BASE)), (ETCD, gzip.compress(ETCD))])
    monkeypatch.setattr("rke2_units.cli.image_bundle.pull.fetch", made.fetch)
    return made


def write(path: Path, *names: str) -> int:
    return image_bundle.write(
        str(path), {name: name for name in names}, REGISTRIES, tell=print, progress=lambda text: None
    )


def content(path: Path) -> dict[str, bytes]:
    """The files of an archive in their order."""
    unpack = {".zst": ["zstd", "-dcq", "--long=27"], ".gz": ["gzip", "-dc"], ".tar": ["cat"]}
    done = subprocess.run([*unpack[path.suffix], path], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout), mode="r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.zst"])
def test_the_archive_is_that_of_docker_save_with_its_manifest_first(
    suffix: str, registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / f"images.{suffix}"
    assert write(path, "docker.io/a/pause:1", "docker.io/a/etcd:2") == path.stat().st_size
    found = content(path)
    assert list(found)[:2] == ["manifest.json", "repositories"]
    etcd, pause = json.loads(found["manifest.json"])
    assert (etcd["RepoTags"], pause["RepoTags"]) == (["docker.io/a/etcd:2"], ["docker.io/a/pause:1"])
    assert [found[layer] for layer in etcd["Layers"]] == [BASE, ETCD]
    assert [found[layer] for layer in pause["Layers"]] == [BASE, PAUSE]
    for image in (etcd, pause):
        assert image["Config"] == f"{sha256(found[image['Config']])}.json"
    assert json.loads(found["repositories"]) == {
        "docker.io/a/etcd": {"2": sha256(ETCD)},
        "docker.io/a/pause": {"1": sha256(PAUSE)},
    }
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == [path.name]


def test_a_layer_that_images_share_is_there_once(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "x.tar", "docker.io/a/pause:1", "docker.io/a/etcd:2")
    with tarfile.open(tmp_path / "x.tar") as tar:
        layers = [member.name for member in tar if member.name.endswith("/layer.tar")]
    assert len(layers) == len(set(layers)) == 3


def test_the_nodes_programs_find_the_images_in_it(registry: Registry, tmp_path: Path) -> None:
    write(tmp_path / "x.tar.zst", "docker.io/a/pause:1", "docker.io/a/etcd:2")
    saved = archives.saved_images(str(tmp_path / "x.tar.zst"))
    assert [image.names for image in saved] == [["docker.io/a/etcd:2"], ["docker.io/a/pause:1"]]


def test_the_same_images_make_the_same_bytes(registry: Registry, tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        write(tmp_path / name, "docker.io/a/pause:1", "docker.io/a/etcd:2")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_an_image_is_pulled_from_its_source_and_named_as_asked(registry: Registry, tmp_path: Path) -> None:
    registry.add("r.example/m/a/pause:1", [(PAUSE, PAUSE)])
    image_bundle.write(
        str(tmp_path / "x.tar"),
        {"docker.io/a/pause:1": "r.example/m/a/pause:1"},
        REGISTRIES,
        tell=print,
        progress=print,
    )
    (image,) = json.loads(content(tmp_path / "x.tar")["manifest.json"])
    assert image["RepoTags"] == ["docker.io/a/pause:1"]
    assert image["Layers"] == [f"{sha256(PAUSE)}/layer.tar"]


def fails(path: Path, cause: str, *names: str) -> None:
    """The bundle fails for this cause, and leaves what was there."""
    path.write_bytes(b"older")
    with pytest.raises(UserError) as error:
        write(path, *names)
    assert cause in error.value.message
    assert "\n" not in error.value.message
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == b"older"


def test_an_image_that_cannot_be_had_leaves_no_archive(registry: Registry, tmp_path: Path) -> None:
    fails(
        tmp_path / "x.tar",
        "docker.io/a/zzz:1 cannot be pulled: https://r.example/v2: it lacks",
        "docker.io/a/etcd:2",
        "docker.io/a/zzz:1",
    )


def gzipped(content: bytes) -> bytes:
    """The same bytes each time: they are part of a test's name."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("blob", "cause"),
    [
        (gzipped(b"other"), "cannot be put into an archive: a layer does not match its digest"),
        (b"other", "cannot be put into an archive: a layer does not match its digest"),
        (b"", "cannot be put into an archive: a layer does not match its digest"),
        (gzipped(PAUSE)[:-30], "cannot be unpacked: gzip -dc failed"),
    ],
)
def test_a_layer_that_is_not_what_the_image_says_leaves_no_archive(
    blob: bytes, cause: str, registry: Registry, tmp_path: Path
) -> None:
    registry.add("docker.io/a/bad:1", [(PAUSE, blob)])
    fails(tmp_path / "x.tar", f"docker.io/a/bad:1 {cause}", "docker.io/a/bad:1")


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"config": {"digest": "sha256:../../etc/passwd"}, "layers": []}',
        b'{"config": {"digest": "sha256:' + b"0" * 64 + b'"}, "layers": []}',
        b'{"schemaVersion": 1, "fsLayers": []}',
    ],
)
def test_a_manifest_of_another_kind_leaves_no_archive(
    manifest: bytes, registry: Registry, tmp_path: Path
) -> None:
    registry.files["docker.io/a/pause:1"]["manifest.json"] = manifest
    fails(tmp_path / "x.tar", "docker.io/a/pause:1 cannot be put into an archive", "docker.io/a/pause:1")


def test_an_image_by_digest_is_refused(registry: Registry, tmp_path: Path) -> None:
    fails(tmp_path / "x.tar", "by tag, not by digest", "docker.io/a/pause@sha256:" + "0" * 64)


def test_an_archive_of_no_known_suffix_is_refused(registry: Registry, tmp_path: Path) -> None:
    fails(tmp_path / "x.zip", "does not have the suffix of an archive", "docker.io/a/pause:1")


def test_a_folder_that_is_not_there_is_told(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write .*No such file or directory"):
        write(tmp_path / "missing" / "x.tar", "docker.io/a/pause:1")


def test_what_a_killed_run_left_is_removed(registry: Registry, tmp_path: Path) -> None:
    left = tmp_path / ".rke2-units-x.tar.work" / "layers"
    left.mkdir(parents=True)
    (left / sha256(BASE)).write_bytes(b"half")
    write(tmp_path / "x.tar", "docker.io/a/pause:1")
    assert os.listdir(tmp_path) == ["x.tar"]
    assert content(tmp_path / "x.tar")[f"{sha256(BASE)}/layer.tar"] == BASE
