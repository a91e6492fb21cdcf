"""docs/air-gap.md followed to the letter, on machines that have never had an image.

Only the release is another one than in the page: that which the content was built of. What answers as the
Docker Hub is a registry with the content's images and a certificate for the Hub's name.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.helpers import product, registries
from tests.node.helpers.documentation import block
from tests.node.helpers.product import BASIC_CONFIG, CONFIG
from tests.node.helpers.registries import AUTHORITY, DOCUMENTED, HUB, Registry
from tests.nodes import placement
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

pytestmark = pytest.mark.long

PAGE = "air-gap.md"
REGISTRIES = "/etc/rancher/rke2/registries.yaml"
# The release that the page has.
RELEASE = "v1.36.4+rke2r1"
BUNDLE = "/root/rke2-images.linux-amd64.tar.zst"
UNKNOWN = "v1.35.7+rke2r1"
ARTEFACTS = "/srv/artefacts"


def commands(words: str) -> str:
    """The commands of the page, with the release of the content in place of that of the page."""
    return block(PAGE, words).replace(RELEASE, content("bookworm").release)


def follow(node: Node, words: str, timeout: float = 300) -> str:
    return node.sh(f"cd /root\n{commands(words)}", timeout=timeout).stdout


@pytest.fixture(scope="module")
def hub() -> Iterator[Registry]:
    """The Docker Hub as the one machine sees it that reaches it; the machine trusts its certificate."""
    with NspawnNode.boot("documentation", "bookworm", replace=True) as node:
        registries.prepare(node, content("bookworm"))
        node.sh(f"echo 127.0.0.1 {DOCUMENTED} {HUB} >>/etc/hosts")
        node.sh(f"cp {AUTHORITY} /usr/local/share/ca-certificates/private.crt; update-ca-certificates")
        yield registries.run(node, 443, tls=True, clients=False)


@pytest.fixture(scope="module")
def mirror(hub: Registry, deb: Path) -> Registry:
    """A private registry that holds what the page has the reader copy into it; and the machine is a node."""
    node = hub.node
    empty = registries.run(node, 5000, tls=True, clients=False, authenticated=True, empty=True)
    node.sh(f"cp {AUTHORITY} /etc/ssl/certs/registry-ca.pem")
    node.write("/root/password", "secret", mode=0o600)
    product.install(node, deb, content("bookworm").release)
    follow(node, "skopeo copy", timeout=600)
    return empty


def come_up(node: Node) -> None:
    product.start(node)
    product.wait_until_running(node)
    node.wait_for(
        "the node to be Ready",
        lambda: " Ready " in node.kubectl("get", "nodes", "--no-headers", check=False).stdout,
        timeout=120,
    )


def forget_everything(node: Node) -> None:
    node.run("rke2-units", "killall", timeout=120)
    node.sh("rm -rf /var/lib/rancher /var/lib/kubelet")


def test_the_list_tells_what_a_mirror_has_to_hold(mirror: Registry) -> None:
    listed = follow(mirror.node, "images list --release").split()
    # Of the node, then of the release; the node has no charts, and so no images of theirs.
    own = len(mirror.node.run("rke2-units", "images", "list").stdout.split())
    assert set(listed[:own]) <= set(listed[own:])
    assert mirror.node.sh(f"rke2-units images list --release {RELEASE}").stdout.count("v1.36.4") > 1


def test_a_node_comes_up_from_a_mirror_that_holds_what_was_copied(hub: Registry, mirror: Registry) -> None:
    hub.stop()
    node = mirror.node
    node.write(REGISTRIES, block(PAGE, "mirrors:"), mode=0o600)
    since = node.now()
    come_up(node)
    assert mirror.asked_for("/v2/rancher/rke2-runtime/blobs/", since)
    assert mirror.asked_for("/v2/rancher/hardened-kubernetes/blobs/", since)


def test_a_node_comes_up_with_the_mirror_as_its_default_registry(hub: Registry, mirror: Registry) -> None:
    hub.stop()
    node = mirror.node
    forget_everything(node)
    text = block(PAGE, "mirrors:")
    node.write(REGISTRIES, text[text.index("configs:") :], mode=0o600)
    node.write(CONFIG, BASIC_CONFIG + block(PAGE, "system-default-registry:"))
    come_up(node)
    assert f"{DOCUMENTED}:5000/rancher/hardened-kubernetes" in node.ctr("images", "ls").stdout


def test_a_machine_without_a_network_comes_up_from_the_bundle(
    hub: Registry, mirror: Registry, deb: Path, tmp_path: Path
) -> None:
    hub.start()
    forget_everything(hub.node)
    hub.node.sh(f"rm {REGISTRIES}")
    hub.node.write(CONFIG, BASIC_CONFIG)
    since = hub.node.now()
    # On two processors that others use as well.
    follow(hub.node, "images bundle", timeout=900)
    assert hub.asked_for("/v2/rancher/rke2-runtime/blobs/", since)
    made = content("bookworm")
    with NspawnNode.boot("documentation-alone", "bookworm", replace=True) as node:
        assert isinstance(hub.node, NspawnNode)
        node.copy_in(hub.node.root / BUNDLE.lstrip("/"), BUNDLE)
        node.copy_in(deb, f"/root/{deb.name}")
        # The page leaves the network of the pods to the charts of its release, which has some.
        node.copy_in(made.cni_plugins, "/opt/cni/bin")
        node.write(placement.CONFLIST_PATH, placement.BRIDGE_CONFLIST)
        node.write(CONFIG, BASIC_CONFIG)
        rule = "OUTPUT --out-interface host0 --jump REJECT"
        node.sh(f"iptables --insert {rule}; ip6tables --insert {rule}")
        follow(node, "apt install")
        come_up(node)


def test_a_release_that_the_package_does_not_know_is_fetched_and_installed(mirror: Registry) -> None:
    node = mirror.node
    tag = UNKNOWN.replace("+", "-")
    images = (
        "rke2-runtime",
        "hardened-kubernetes",
        "mirrored-pause:3.6",
        "hardened-etcd:v3.6.5-k3s1-build20251017",
    )
    text = "".join(f"docker.io/rancher/{each if ':' in each else f'{each}:{tag}'}\n" for each in images)
    name, folder = "rke2-images-core.linux-amd64.txt", f"{ARTEFACTS}/{UNKNOWN}"
    node.write(f"{folder}/{name}", text)
    node.write(f"{folder}/sha256sum-amd64.txt", f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n")
    server = Registry(node, "artefacts.service", "127.0.0.1:8000")
    registries.have_unit(
        server, f"/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory {ARTEFACTS} 8000"
    )
    node.write(CONFIG, f"{BASIC_CONFIG}release-artifact-url: http://{server.address}\n")
    said = follow(node, "release fetch v1.35.7")
    assert f"docker.io/rancher/rke2-runtime:{tag}" in said
    assert UNKNOWN in node.sh("rke2-units release list").stdout
    assert tag in node.run("rke2-units", "images", "list").stdout
