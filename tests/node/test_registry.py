"""A node with no archive of an image takes everything from registries: plain, private, mirrored.

In the order of the file, one node goes through all of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.node.helpers import pods, product, registries
from tests.node.helpers.failing import failing_start
from tests.node.helpers.product import BASIC_CONFIG, CONFIG, SERVER
from tests.node.helpers.registries import (
    AUTHORITY,
    CLIENT_CERTIFICATE,
    CLIENT_KEY,
    HOST,
    PASSWORD,
    USER,
    Registry,
)
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.nodes.registry_storage import image_list
from tests.package import build_deb

DATA = "/var/lib/rancher/rke2"
REGISTRIES = "/etc/rancher/rke2/registries.yaml"
ARCHIVES = f"{DATA}/agent/images"
DEAD = "https://127.0.0.1:5009"
PINNED = "io.cri-containerd.pinned=pinned"
SLEEP = "while :; do sleep 1; done"


@dataclass(frozen=True)
class Registries:
    """A node's registries; they all have the same images.

    plain: http, on loopback. private: TLS from a private CA, certificates of clients, user and password.
    through: a mirror of `plain` that pulls when it is asked.
    """

    node: Node
    plain: Registry
    private: Registry
    through: Registry


@pytest.fixture(scope="module")
def registry(deb: Path) -> Iterator[Registries]:
    """A server that has never had an archive, started with nothing but system-default-registry."""
    made = content("bookworm")
    with NspawnNode.boot("registry", "bookworm", replace=True) as node:
        registries.prepare(node, made)
        plain = registries.run(node, 5000)
        private = registries.run(node, 5001, tls=True, authenticated=True)
        through = registries.run(node, 5002, mirrored=plain)
        config = f"{BASIC_CONFIG}system-default-registry: {plain.address}\n"
        product.install(node, deb, made.release, config)
        product.start(node)
        product.wait_until_running(node)
        yield Registries(node, plain, private, through)


def forget_everything(node: Node) -> None:
    node.run("rke2-units", "killall", timeout=120)
    node.sh(f"rm -rf /var/lib/rancher /var/lib/kubelet {REGISTRIES}")


def images(node: Node) -> dict[str, str]:
    """containerd's images by name, each with its line of `ctr images ls`."""
    lines = node.ctr("images", "ls").stdout.splitlines()[1:]
    return {line.split()[0]: line for line in lines}


def wait_until_ready(node: Node) -> None:
    node.wait_for(
        "the node to be Ready",
        lambda: " Ready " in node.kubectl("get", "nodes", "--no-headers", check=False).stdout,
        timeout=120,
    )


def test_a_node_comes_up_with_nothing_but_a_default_registry(registry: Registries) -> None:
    node = registry.node
    wait_until_ready(node)
    assert node.sh(f"ls {ARCHIVES}/*.tar* 2>/dev/null || true").stdout == ""
    found = images(node)
    for name in image_list(content("bookworm"), content("bookworm").release):
        own = name.replace("docker.io", registry.plain.address)
        # Programs are no containers, and nobody has asked for busybox.
        others = ("rke2-runtime", "klipper-helm", "busybox")
        assert (own in found) == (not any(each in own for each in others)), own
        assert name not in found


def test_its_pods_take_images_from_that_registry(registry: Registries) -> None:
    node = registry.node
    image = pods.IMAGE.replace("docker.io", registry.plain.address)
    assert image not in images(node)
    pods.apply(node, pods.manifest(node, "plain", SLEEP, image=image))
    pods.wait_until_running(node, "plain")
    assert image in images(node)
    pods.remove(node, "plain")


def test_rewrites_that_its_containerd_would_ignore_are_refused_with_their_place(
    registry: Registries,
) -> None:
    node = registry.node
    node.systemctl("stop", SERVER)
    node.write(
        REGISTRIES,
        "mirrors:\n  docker.io:\n    endpoint: [https://registry.example]\n"
        '    rewrite:\n      "^rancher/(.*)": "mirror/$1"\n',
        mode=0o600,
    )
    failing_start(node).tells(REGISTRIES, "rewrite")
    assert node.unit(SERVER)["ActiveState"] == "failed"
    node.run("rm", REGISTRIES)
    product.start(node)
    product.wait_until_running(node)


# -- registries.yaml ---------------------------------------------------------------------------------

_PRIVATE = f"""\
mirrors:
  docker.io:
    endpoint:
      - {DEAD}
      - https://{HOST}:5001
configs:
  {HOST}:5001:
    auth:
      username: {USER}
      password: "{PASSWORD}"
    tls:
      ca_file: {AUTHORITY}
      cert_file: {CLIENT_CERTIFICATE}
      key_file: {CLIENT_KEY}
"""
_LISTED = "docker.io/rancher/hardened-etcd:v3.4.23-rke2r9"


@pytest.fixture(scope="module")
def private(registry: Registries) -> tuple[Registries, str]:
    """The node, which knows of a dead and of a private registry now; and the time of its start.

    The private one was down at first: by itself, when that is back, the node comes up.
    """
    node = registry.node
    forget_everything(node)
    node.write(f"{ARCHIVES}/more.txt", f"{_LISTED}\n")
    node.write(CONFIG, BASIC_CONFIG)
    node.write(REGISTRIES, _PRIVATE, mode=0o600)
    since = node.now()
    registry.private.stop()
    failing_start(node).tells("content", DEAD, f"https://{registry.private.address}")
    registry.private.start()
    product.wait_until_running(node)
    return registry, since


def test_a_node_comes_up_from_the_second_endpoint_when_the_first_is_dead(
    private: tuple[Registries, str],
) -> None:
    registry, since = private
    wait_until_ready(registry.node)
    for repository in ("rke2-runtime", "hardened-kubernetes", "hardened-etcd", "mirrored-pause"):
        assert registry.private.asked_for(f"/v2/rancher/{repository}/", since), repository
    said = registry.node.journal("rke2-content.service", since=since)
    assert DEAD.removeprefix("https://") in said and "refuse" in said
    assert not registry.plain.asked_for("/v2/rancher/", since)


def test_images_that_a_list_names_are_pulled_and_pinned(private: tuple[Registries, str]) -> None:
    node = private[0].node
    assert PINNED in images(node)[_LISTED]


def test_the_kubelet_pulls_a_pods_image_with_the_same_password(private: tuple[Registries, str]) -> None:
    registry, _ = private
    assert pods.IMAGE not in images(registry.node)
    since = registry.node.now()
    pods.apply(registry.node, pods.manifest(registry.node, "private", SLEEP))
    pods.wait_until_running(registry.node, "private")
    assert registry.private.asked_for("/v2/rancher/mirrored-library-busybox/blobs/", since)


def test_the_password_is_in_no_log_and_in_no_file_that_others_may_read(
    private: tuple[Registries, str],
) -> None:
    node = private[0].node
    assert PASSWORD not in node.journal()
    places = f"{DATA}/agent/etc {DATA}/server /etc/rancher /run /tmp /var/tmp /var/lib/rke2-units"
    # Not everything below /run can be read.
    search = f"find {places} -xdev -type f -print0 | xargs -0 grep -l '{PASSWORD}' || true"
    found = node.sh(search).stdout.split()
    assert REGISTRIES in found and len(found) > 1
    assert node.run("stat", "--format=%a", *found).stdout.split() == ["600"] * len(found)


def test_a_pull_through_mirror_serves_what_the_registry_behind_it_has(
    private: tuple[Registries, str],
) -> None:
    registry, _ = private
    node = registry.node
    node.write(
        REGISTRIES,
        f"mirrors:\n  '*':\n    endpoint: ['http://{registry.through.address}']\n",
        mode=0o600,
    )
    listed = "docker.io/rancher/hardened-kubernetes:v1.20.9-rke2r9"
    node.write(f"{ARCHIVES}/more.txt", f"{_LISTED}\n{listed}\n")
    since = node.now()
    with product.containers_live_on(node):
        node.systemctl("restart", SERVER)
        product.wait_until_running(node)
    # There is no shell in it, but it can be pulled.
    of_pod = "docker.io/rancher/rke2-runtime:v1.20.9-rke2r9"
    pods.apply(node, pods.manifest(node, "through", SLEEP, image=of_pod))
    for image in (listed, of_pod):
        node.wait_for(f"the image {image}", lambda image=image: image in images(node), timeout=60)  # type: ignore[misc]
        repository = image.removeprefix("docker.io/").partition(":")[0]
        for each in (registry.through, registry.plain):
            assert each.asked_for(f"/v2/{repository}/blobs/", since)
    assert not registry.private.asked_for("/v2/rancher/", since)
    pods.remove(node, "through")


# -- from a registry to a node without one ------------------------------------------------------------


@pytest.fixture
def offline(registry: Registries) -> Iterator[Callable[[], None]]:
    """Takes the node's registries and its network away; in the end they are back."""
    node = registry.node
    everything = (registry.plain, registry.private, registry.through)
    # Whatever would leave the node is refused.
    rule = "OUTPUT --out-interface host0 --jump REJECT"

    def leave() -> None:
        for each in everything:
            each.stop()
        node.sh(f"iptables --insert {rule}; ip6tables --insert {rule}")

    for each in everything:
        each.start()
    yield leave
    node.sh(f"iptables --delete {rule}; ip6tables --delete {rule}", check=False)


# What a bundle is compressed with is said by its name, and zstd as RKE2 uses it takes a minute.
@pytest.mark.parametrize("suffix", [".tar", pytest.param(".tar.zst", marks=pytest.mark.long)])
def test_a_node_with_no_network_at_all_comes_up_from_a_bundle(
    registry: Registries, offline: Callable[[], None], suffix: str
) -> None:
    node = registry.node
    bundle = f"/root/rke2-images.linux-amd64{suffix}"
    node.write(CONFIG, BASIC_CONFIG)
    node.write(REGISTRIES, _PRIVATE, mode=0o600)
    listed = set(node.run("rke2-units", "images", "list").stdout.split())
    assert listed < set(image_list(content("bookworm"), content("bookworm").release))
    node.run("rke2-units", "images", "bundle", "--output", bundle, timeout=300)
    forget_everything(node)
    offline()
    node.sh(f"mkdir -p {ARCHIVES}; mv {bundle} {ARCHIVES}/")
    product.start(node)
    product.wait_until_running(node)
    wait_until_ready(node)
    assert listed <= images(node).keys()


@pytest.mark.long
def test_a_node_with_a_newer_containerd_and_a_newer_skopeo_comes_up_from_a_private_registry() -> None:
    made = content("trixie")
    with NspawnNode.boot("registry-trixie", "trixie", replace=True) as node:
        registries.prepare(node, made)
        private = registries.run(node, 5001, tls=True, authenticated=True)
        node.write(REGISTRIES, _PRIVATE, mode=0o600)
        product.install(node, build_deb("trixie"), made.release)
        product.start(node)
        product.wait_until_running(node)
        wait_until_ready(node)
        pods.apply(node, pods.manifest(node, "private", SLEEP))
        pods.wait_until_running(node, "private")
        assert private.asked_for("/v2/rancher/mirrored-library-busybox/blobs/", "today")
