import bz2
import fcntl
import gzip
import lzma
import os
import re
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.images import pull
from rke2_units.images.registries import Registries
from rke2_units.lean.settings import Settings
from rke2_units.programs import content, content_staging
from tests.unit.program_values import (
    DIRECTORY,
    IMAGE,
    RUNTIME_LAYER,
    Member,
    archive_bytes,
    image_files,
    layer,
    make_settings,
    oci_archive,
    pulled_files,
    runtime_archive,
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The archives of these tests are for amd64, whatever machine runs them."""
    real = os.uname()
    fake = os.uname_result((real.sysname, real.nodename, real.release, real.version, "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: fake)


class Registry:
    """Pulls, in place of skopeo: each call of `fetch` is the next of `answers`."""

    def __init__(self) -> None:
        self.answers: list[Callable[[str, Path], object]] = []

    def fetch(
        self, registries: Registries, reference: str, directory: str, *, tell: object, progress: object
    ) -> str:
        if not self.answers:
            raise UserError(f"{reference} cannot be pulled: https://registry-1.docker.io/v2: 404")
        Path(directory).mkdir()
        self.answers.pop(0)(reference, Path(directory))
        return "https://registry-1.docker.io/v2"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setattr(pull, "fetch", made.fetch)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "agent/images").mkdir(parents=True)
    return make_settings(tmp_path)


def add_archive(root: Path, archive: bytes, name: str = "rke2-images.tar") -> Path:
    path = root / "agent/images" / name
    path.write_bytes(archive)
    return path


def with_program(name: str, *arguments: str) -> Callable[[bytes], bytes]:
    def compress(content: bytes) -> bytes:
        return subprocess.run([name, *arguments], input=content, stdout=subprocess.PIPE, check=True).stdout

    return compress


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".tar", bytes),
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tar.lz4", with_program("lz4", "-c")),
        (".tar.zst", with_program("zstd", "-c", "-16", "--long=25")),
    ],
)
@pytest.mark.parametrize("manifest_first", [True, False])
def test_programs_and_charts_come_out_of_every_kind_of_archive(
    tmp_path: Path, settings: Settings, suffix: str, compress: Callable[[bytes], bytes], manifest_first: bool
) -> None:
    image = image_files([f"docker.io/{IMAGE}"], [RUNTIME_LAYER])
    add_archive(tmp_path, compress(archive_bytes(image, manifest_first=manifest_first)), f"rke2{suffix}")
    content.program(settings, [])
    version = tmp_path / "data" / DIRECTORY
    assert sorted(path.name for path in version.iterdir()) == [".extracted", "bin", "charts"]
    assert (version / ".extracted").read_text() == f"{IMAGE}\n"
    assert sorted(path.name for path in (version / "bin").iterdir()) == ["containerd", "helper"]
    assert (version / "bin/helper").read_text() == "helper"
    assert (version / "bin/containerd").stat().st_mode & 0o777 == 0o755
    assert (version / "charts/rke2-coredns.yaml").read_text() == "chart"
    assert (tmp_path / "bin").readlink() == version / "bin"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, with_program("zstd", "-cq", "--long=27"), with_program("lz4", "-c")]
)
def test_what_an_archive_is_compressed_with_is_not_told_by_its_name(
    tmp_path: Path, settings: Settings, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    add_archive(tmp_path, compress(runtime_archive()), f"x{suffix}")
    content.program(settings, [])
    assert (tmp_path / "bin/containerd").exists()


def test_an_archive_with_xz_is_named_for_what_it_is(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = add_archive(tmp_path, lzma.compress(runtime_archive()), "x.tar")
    with pytest.raises(UserError):
        content.program(settings, [])
    assert (
        f"{path} is compressed with xz, which is not supported (decompress it: xz -d)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("architectures", [(), ("amd64",), ("arm64", "amd64"), ("s390x", "amd64")])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_image_may_be_in_an_oci_layout(
    tmp_path: Path, settings: Settings, architectures: tuple[str, ...], compress: Callable[[bytes], bytes]
) -> None:
    layers = [gzip.compress(RUNTIME_LAYER)]
    names = {"org.opencontainers.image.ref.name": f"docker.io/{IMAGE}"}
    add_archive(tmp_path, compress(oci_archive(layers, names, *architectures, lacking="s390x")), "x.tar")
    content.program(settings, [])
    assert (tmp_path / "bin/containerd").exists()


def test_of_an_oci_layout_what_is_for_another_machine_or_not_as_its_digest_says_is_not_used(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"io.containerd.image.name": f"docker.io/{IMAGE}"}
    add_archive(tmp_path, oci_archive([RUNTIME_LAYER], names, "arm64"), "a.tar")
    whole = oci_archive([RUNTIME_LAYER], names)
    add_archive(
        tmp_path, whole.replace(b'"schemaVersion": 2, "config"', b'"schemaVersion": 3, "config"'), "b.tar"
    )
    with pytest.raises(UserError, match="a.tar has it for arm64"):
        content.program(settings, [])
    assert re.search("b.tar is damaged: blobs/sha256/[0-9a-f]+ does not match", capsys.readouterr().err)


def test_nothing_is_read_when_the_content_is_there(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_archive(tmp_path, runtime_archive())
    content.program(settings, [])
    monkeypatch.setattr(content_staging, "stage", lambda *_: pytest.fail("staged again"))
    content.program(settings, [])


def test_an_image_that_no_archive_has_is_named_with_the_place(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive(name="docker.io/rancher/rke2-runtime:v9"))
    with pytest.raises(
        UserError,
        match=rf"no archive has the image {IMAGE}.*1 archives in {tmp_path}/agent/images.*"
        f"and {IMAGE} cannot be pulled: https://registry-1.docker.io/v2: 404.*put the archive",
    ):
        content.program(settings, [])
    assert os.listdir(tmp_path / "data") == [".lock"]


def test_an_image_for_another_machine_is_not_used(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive(architecture="arm64"))
    with pytest.raises(UserError, match="this machine is amd64.*has it for arm64"):
        content.program(settings, [])


def test_of_two_archives_the_one_for_this_machine_is_used(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive(architecture="arm64"), "a.tar")
    add_archive(tmp_path, runtime_archive(), "b.tar")
    content.program(settings, [])
    assert (tmp_path / "bin/containerd").exists()


def test_the_image_may_carry_its_own_registrys_name(tmp_path: Path) -> None:
    (tmp_path / "agent/images").mkdir(parents=True)
    values = {
        "image": f"registry.local/{IMAGE}",
        "directory": DIRECTORY,
        "archives": f"{tmp_path}/agent/images",
    }
    add_archive(tmp_path, runtime_archive(name=f"registry.local/{IMAGE}"))
    content.program(make_settings(tmp_path, content=values), [])
    assert (tmp_path / "bin/containerd").exists()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_damaged_archive_leaves_nothing(
    tmp_path: Path, settings: Settings, kept: float, suffix: str
) -> None:
    big = layer(Member("bin/containerd", "c" * 40000), Member("bin/kubelet", os.urandom(20000).hex()))
    archive = runtime_archive(big)
    archive = gzip.compress(archive) if suffix == ".tar.gz" else archive
    path = add_archive(tmp_path, archive[: int(len(archive) * kept)], f"x{suffix}")
    with pytest.raises(UserError) as caught:
        content.program(settings, [])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or IMAGE in str(caught.value)
    assert os.listdir(tmp_path / "data") == [".lock"]
    assert not (tmp_path / "bin").is_symlink()


def test_a_changed_layer_is_noticed(tmp_path: Path, settings: Settings) -> None:
    add_archive(
        tmp_path, runtime_archive().replace(b"containerd" + b"\0" * 100, b"containerX" + b"\0" * 100)
    )
    with pytest.raises(UserError, match="damaged"):
        content.program(settings, [])


def test_a_damaged_archive_does_not_hide_a_good_one(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add_archive(tmp_path, b"nonsense", "a.tar")
    add_archive(tmp_path, runtime_archive(), "b.tar")
    content.program(settings, [])
    assert f"<4>{tmp_path}/agent/images/a.tar is damaged" in capsys.readouterr().err


def test_a_truncated_archive_does_not_hide_a_good_one(tmp_path: Path, settings: Settings) -> None:
    # Its list of images and its configuration are read, its layer is not.
    whole = gzip.compress(runtime_archive(), compresslevel=0)
    add_archive(tmp_path, whole[: len(whole) * 2 // 3], "a.tar.gz")
    add_archive(tmp_path, whole, "b.tar.gz")
    content.program(settings, [])
    assert (tmp_path / "data" / DIRECTORY / ".extracted").exists()


@pytest.mark.parametrize("kind", ["a folder", "a link that leads nowhere"])
def test_what_is_only_named_like_an_archive_hides_no_good_one(
    tmp_path: Path, settings: Settings, kind: str
) -> None:
    add_archive(tmp_path, runtime_archive(), "b.tar")
    other = tmp_path / "agent/images/a.tar"
    other.mkdir() if kind == "a folder" else other.symlink_to("nowhere")
    content.program(settings, [])
    assert (tmp_path / "data" / DIRECTORY / ".extracted").exists()


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_archive(tmp_path, runtime_archive())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rke2_units.images.image_layers.shutil.copyfileobj", full)
    with pytest.raises(UserError, match=rf"{IMAGE} cannot be extracted to .*No space left.*MiB are free"):
        content.program(settings, [])
    assert os.listdir(tmp_path / "data") == [".lock"]


def test_what_a_killed_run_left_goes(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive())
    (tmp_path / f"data/.rke2-units-{DIRECTORY}/bin").mkdir(parents=True)
    (tmp_path / f"data/{DIRECTORY}/bin").mkdir(parents=True)
    content.program(settings, [])
    assert sorted(os.listdir(tmp_path / "data")) == [".lock", DIRECTORY]
    assert (tmp_path / f"data/{DIRECTORY}/.extracted").exists()


def test_two_starts_at_once_stage_once(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_archive(tmp_path, runtime_archive())
    staged = []
    real = content_staging.stage

    def slow(*arguments: str) -> None:
        staged.append(arguments)
        time.sleep(0.2)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(content_staging, "stage", slow)
    threads = [threading.Thread(target=content.program, args=(settings, [])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(staged) == 1
    assert (tmp_path / "bin/containerd").exists()


@pytest.mark.parametrize("before", [None, 0o644])
def test_nobody_else_can_hold_the_lock(tmp_path: Path, settings: Settings, before: int | None) -> None:
    add_archive(tmp_path, runtime_archive())
    lock = tmp_path / "data/.lock"
    if before is not None:
        lock.parent.mkdir()
        lock.touch()
        lock.chmod(before)
    mask = os.umask(0o022)
    try:
        content.program(settings, [])
    finally:
        os.umask(mask)
    assert lock.stat().st_mode & 0o777 == 0o600


def test_the_lock_is_free_afterwards(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive())
    content.program(settings, [])
    with open(tmp_path / "data/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_bin_is_switched_to_the_new_version(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive())
    (tmp_path / "bin").symlink_to(tmp_path / "data/v0/bin")
    content.program(settings, [])
    assert (tmp_path / "bin").readlink() == tmp_path / "data" / DIRECTORY / "bin"


def test_a_directory_in_the_place_of_the_link_is_left_alone(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive())
    (tmp_path / "bin").mkdir()
    with pytest.raises(UserError, match="not a symbolic link"):
        content.program(settings, [])


def test_old_versions_go_unless_a_shim_or_a_process_uses_them(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_archive(tmp_path, runtime_archive())
    for name in ("v1-unused", "v1-shim", "v1-process", "v1", "other"):
        (tmp_path / "data" / name / "bin").mkdir(parents=True)
    bundle = Path(settings.bundles) / "0123"
    bundle.mkdir(parents=True)
    (bundle / "shim-binary-path").write_text(f"{tmp_path}/data/v1-shim/bin/containerd-shim-runc-v2")
    monkeypatch.setattr(content, "_programs", lambda: [f"{tmp_path}/data/v1-process/bin/containerd"])
    content.program(settings, [])
    assert sorted(os.listdir(tmp_path / "data")) == [".lock", "other", "v1-process", "v1-shim", DIRECTORY]


def test_a_layer_that_is_a_link_to_another_is_followed(tmp_path: Path, settings: Settings) -> None:
    first, second = layer(Member("bin/a", "a")), layer(Member("bin/b", "b"))
    entry, files = image_files([f"docker.io/{IMAGE}"], [first, second, first])
    paths = [str(path) for path in entry["Layers"]]  # type: ignore[attr-defined]
    path = tmp_path / "agent/images/x.tar"
    with tarfile.open(path, "w") as archive:
        manifest = archive_bytes((entry, {}))
        source = tmp_path / "manifest.tar"
        source.write_bytes(manifest)
        with tarfile.open(source) as other:
            member = other.getmember("manifest.json")
            archive.addfile(member, other.extractfile(member))
        link = tarfile.TarInfo(paths[0])
        link.type = tarfile.SYMTYPE
        link.linkname = f"../{paths[2]}"
        archive.addfile(link)
        for name, content_ in files.items():
            if name != paths[0]:
                target = tmp_path / "member"
                target.write_bytes(content_)
                archive.add(target, name)
    content.program(settings, [])
    assert sorted(os.listdir(tmp_path / "bin/")) == ["a", "b"]


def test_a_missing_decompressor_is_named_with_its_package(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_archive(tmp_path, with_program("zstd", "-cq")(runtime_archive()), "x.tar.zst")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=IMAGE):
        content.program(settings, [])
    assert "the program zstd is missing (apt install zstd)" in capsys.readouterr().err


@pytest.mark.parametrize("compress", [bytes, gzip.compress, with_program("zstd", "-cq", "--long=27")])
def test_what_no_archive_has_is_pulled(
    tmp_path: Path, settings: Settings, registry: Registry, compress: Callable[[bytes], bytes]
) -> None:
    upper = layer(Member("bin/.wh.containerd"), Member("bin/kubelet", "kubelet" * 300000))
    add_archive(tmp_path, b"nonsense", "a.tar")

    def pulled(reference: str, directory: Path) -> None:
        assert reference == f"registry.local/{IMAGE}"
        # On the file system that the content goes to, and known by its name after SIGKILL.
        assert directory.parent == tmp_path / "data" and directory.name.startswith(content._TEMPORARY)
        pulled_files(directory, [compress(RUNTIME_LAYER), compress(upper)])

    registry.answers.append(pulled)
    values = {"image": IMAGE, "directory": DIRECTORY, "archives": f"{tmp_path}/agent/images"}
    content.program(make_settings(tmp_path, content=values | {"pull": f"registry.local/{IMAGE}"}), [])
    assert sorted(os.listdir(tmp_path / "bin/")) == ["helper", "kubelet"]
    assert (tmp_path / "bin/kubelet").read_text() == "kubelet" * 300000
    assert (tmp_path / f"data/{DIRECTORY}/.extracted").read_text() == f"{IMAGE}\n"
    assert sorted(os.listdir(tmp_path / "data")) == [".lock", DIRECTORY]


def test_what_was_pulled_for_another_machine_is_not_used(
    tmp_path: Path, settings: Settings, registry: Registry
) -> None:
    registry.answers.append(lambda _, directory: pulled_files(directory, [RUNTIME_LAYER], "arm64"))
    with pytest.raises(
        UserError, match="https://registry-1.docker.io/v2 is for arm64, this machine is amd64"
    ):
        content.program(settings, [])
    assert os.listdir(tmp_path / "data") == [".lock"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, with_program("zstd", "-cq")])
@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_a_damaged_layer_that_was_pulled_leaves_nothing(
    tmp_path: Path,
    settings: Settings,
    registry: Registry,
    compress: Callable[[bytes], bytes],
    kept: float,
) -> None:
    content_ = os.urandom(200000).hex()

    def damaged(_: str, directory: Path) -> None:
        pulled_files(directory, [compress(layer(Member("bin/kubelet", content_)))])
        largest = max(directory.iterdir(), key=lambda path: path.stat().st_size)
        os.truncate(largest, int(largest.stat().st_size * kept))

    registry.answers.append(damaged)
    with pytest.raises(UserError, match=f"{IMAGE} from https://registry-1.docker.io/v2 is damaged"):
        content.program(settings, [])
    assert os.listdir(tmp_path / "data") == [".lock"]


def test_what_a_killed_pull_left_goes(tmp_path: Path, settings: Settings) -> None:
    add_archive(tmp_path, runtime_archive())
    (tmp_path / f"data/.rke2-units-{DIRECTORY}-pulled.work").mkdir(parents=True)
    content.program(settings, [])
    assert sorted(os.listdir(tmp_path / "data")) == [".lock", DIRECTORY]
