import pytest

from rke2_units.images.references import normalise, spellings


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("rancher/hardened-etcd:v3", "docker.io/rancher/hardened-etcd:v3"),
        ("docker.io/rancher/hardened-etcd:v3", "docker.io/rancher/hardened-etcd:v3"),
        ("index.docker.io/rancher/hardened-etcd:v3", "docker.io/rancher/hardened-etcd:v3"),
        ("busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("registry.local:5000/etcd", "registry.local:5000/etcd:latest"),
        ("localhost/etcd:1", "localhost/etcd:1"),
        ("registry.local/path/rancher/etcd:1", "registry.local/path/rancher/etcd:1"),
        ("rancher/etcd@sha256:ab", "docker.io/rancher/etcd@sha256:ab"),
        ("rancher/etcd:v1@sha256:ab", "docker.io/rancher/etcd@sha256:ab"),
    ],
)
def test_differently_written_names_of_an_image_are_one(written: str, full: str) -> None:
    assert normalise(written) == full
    assert normalise(full) == full


def test_an_image_of_another_registry_is_looked_for_under_the_docker_hubs_name_first() -> None:
    assert spellings("registry.local/rancher/x:1") == ("docker.io/rancher/x:1", "registry.local/rancher/x:1")
    assert spellings("rancher/x:1") == ("docker.io/rancher/x:1",)
