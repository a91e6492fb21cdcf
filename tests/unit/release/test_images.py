import pytest

from rke2_units.config.config import Config
from rke2_units.errors import ConfigurationError
from rke2_units.release import images
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT, RELEASES, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

DIGEST = "sha256:" + "0123456789abcdef" * 4


def config(**values: object) -> Config:
    return make_config(Role.SERVER, {name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("written", "name"),
    [
        # Directories seen on real RKE2 nodes.
        ("rancher/rke2-runtime:v1.36.2-dev.e86df04e", "v1.36.2-dev.e86df04e-b375011228d7"),
        ("rancher/rke2-runtime:v1.21.7-dev-feade7f8", "v1.21.7-dev-feade7f8-821496719051"),
        ("index.docker.io/rancher/rke2-runtime:v1.18.12-rke2r1", "v1.18.12-rke2r1-db8f3b64d681"),
        ("rancher/rke2-runtime:v1.36.4-rke2r1", "v1.36.4-rke2r1-f17a4346e1f5"),
        (f"rancher/rke2-runtime@{DIGEST}", "0123456789abcdef" * 4),
        (f"rancher/rke2-runtime:v1.2.3@{DIGEST}", "0123456789abcdef" * 4),
    ],
)
def test_content_directory_is_named_as_rke2_names_it(written: str, name: str) -> None:
    assert images.content_directory_name(written) == name


@pytest.mark.parametrize(
    "written",
    [
        "rancher/rke2-runtime",
        "rancher/rke2-runtime:latest",
        "rancher/rke2-runtime:version1",
        "",
        "a b:v1",
        "host:5000/rke2-runtime",
        "rancher/rke2-runtime@sha256:../../etc",
    ],
)
def test_content_directory_of_a_reference_without_version_or_digest_is_refused(written: str) -> None:
    with pytest.raises(ConfigurationError):
        images.content_directory_name(written)


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("busybox", "index.docker.io/library/busybox:latest"),
        ("rancher/pause:3.2", "index.docker.io/rancher/pause:3.2"),
        ("docker.io/rancher/pause:3.2", "index.docker.io/rancher/pause:3.2"),
        ("docker.io/busybox:1", "index.docker.io/library/busybox:1"),
        ("index.docker.io/rancher/pause:3.2", "index.docker.io/rancher/pause:3.2"),
        ("registry.example.com:5000/a/b:1", "registry.example.com:5000/a/b:1"),
        ("registry.example.com/b", "registry.example.com/b:latest"),
        ("localhost/b:1", "localhost/b:1"),
        (f"rancher/pause@{DIGEST}", f"index.docker.io/rancher/pause@{DIGEST}"),
    ],
)
def test_references_are_qualified_as_rke2_writes_them(written: str, full: str) -> None:
    assert images.qualified(written) == full


def test_an_image_of_the_release_is_on_docker_hub_unless_told_otherwise() -> None:
    image = images.image(config(), release(DEFAULT), "etcd-image")
    assert image == "index.docker.io/rancher/hardened-etcd:v3.6.14-k3s1-build20260819"


def test_a_plain_default_registry_replaces_the_registry_and_keeps_the_hashed_text() -> None:
    settings = config(system_default_registry="registry.example.com:5000")
    assert images.image(settings, release(DEFAULT), images.RUNTIME_IMAGE) == (
        "registry.example.com:5000/rancher/rke2-runtime:v1.36.4-rke2r1"
    )
    assert images.reference(settings, release(DEFAULT), images.RUNTIME_IMAGE) == (
        "rancher/rke2-runtime:v1.36.4-rke2r1"
    )


def test_a_default_registry_with_a_path_becomes_part_of_the_reference() -> None:
    settings = config(system_default_registry="registry.example.com/mirror")
    full = "registry.example.com/mirror/rancher/rke2-runtime:v1.36.4-rke2r1"
    assert images.image(settings, release(DEFAULT), images.RUNTIME_IMAGE) == full
    assert images.reference(settings, release(DEFAULT), images.RUNTIME_IMAGE) == full


def test_an_image_that_the_user_names_is_not_touched_by_the_default_registry() -> None:
    settings = config(etcd_image="example.org/etcd:1", system_default_registry="registry.example.com")
    assert images.image(settings, release(DEFAULT), "etcd-image") == "example.org/etcd:1"


def test_prime_takes_images_from_its_registry_unless_another_one_is_set() -> None:
    image = images.image(config(prime=True), release("v1.20.2+rke2r1"), "pause-image")
    assert image == "registry.rancher.com/rancher/mirrored-pause:3.2"
    settings = config(prime=True, system_default_registry="registry.example.com")
    image = images.image(settings, release("v1.20.2+rke2r1"), "pause-image")
    assert image == "registry.example.com/rancher/mirrored-pause:3.2"


def test_an_image_that_the_release_lacks_is_refused_with_the_key_to_set() -> None:
    with pytest.raises(ConfigurationError, match="set cloud-controller-manager-image"):
        images.image(config(), release("v1.20.2+rke2r1"), "cloud-controller-manager-image")


def test_an_unknown_release_is_answered_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"run: rke2-units release fetch v1\.36\.3\+rke2r1"):
        release("v1.36.3+rke2r1")
    with pytest.raises(ConfigurationError, match=r"did you mean v1\.36\.4\+rke2r1"):
        release("v1.36.4+rke2r")
    with pytest.raises(ConfigurationError, match="a release is written"):
        release("nonsense")


@pytest.mark.parametrize("entry", RELEASES.values(), ids=RELEASES)
def test_every_release_names_its_images_after_itself(entry: Release) -> None:
    assert entry.images[images.RUNTIME_IMAGE].endswith(":" + entry.name.replace("+", "-"))
    version = ".".join(map(str, entry.etcd))
    assert entry.images["etcd-image"].startswith(f"rancher/hardened-etcd:v{version}-")
    assert entry.name.startswith(f"v{entry.kubernetes[0]}.{entry.kubernetes[1]}.")
    for written in entry.images.values():
        assert images.qualified(written) == f"index.docker.io/{written}"
