"""A node moves from one release's content to another's and back, and its pods do not notice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.helpers import pods, product, registries
from tests.node.helpers.product import BASIC_CONFIG, SERVER
from tests.node.helpers.registries import Registry
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.nodes.registry_storage import ANOTHER_RELEASE, image_list

DATA = "/var/lib/rancher/rke2"
SLEEP = "while :; do sleep 1; done"
OLD, NEW = "v1.20.2-rke2r1-", "v1.20.9-rke2r9-"
IMAGE_LIST = "/root/rke2-images-core.linux-amd64.txt"


@pytest.fixture(scope="module")
def registry(deb: Path) -> Iterator[Registry]:
    """A server that takes both releases' images from one registry; it runs the content's own release."""
    made = content("bookworm")
    with NspawnNode.boot("releases", "bookworm", replace=True) as node:
        registries.prepare(node, made)
        plain = registries.run(node, 5000)
        product.install(node, deb, made.release, f"{BASIC_CONFIG}system-default-registry: {plain.address}\n")
        product.start(node)
        product.wait_until_running(node)
        yield plain


def run_workload(registry: Registry, name: str) -> None:
    image = pods.IMAGE.replace("docker.io", registry.address)
    pods.apply(registry.node, pods.manifest(registry.node, name, SLEEP, image=image))
    pods.wait_until_running(registry.node, name)


def processes(node: Node, *names: str) -> dict[str, int]:
    """The processes of these pods' containers, by ID."""
    found = {key: each.pid for key, each in node.containers().items() if each.pod in names}
    assert len(found) == 2 * len(names) and all(found.values())
    return found


def versions(node: Node) -> list[str]:
    """The folders of content, without their hashes; helm has folders of its own."""
    return [
        name[: len(OLD)] for name in node.sh(f"ls -d {DATA}/data/v* | xargs -n 1 basename").stdout.split()
    ]


def move(node: Node, release: str) -> None:
    node.run("rke2-units", "install", "--role", "server", "--release", release)
    node.systemctl("restart", SERVER)
    product.wait_until_running(node)


def assert_runs(node: Node, version: str, tag: str) -> None:
    """Programs and static pods are those of a release."""
    assert f"/data/{version}" in node.run("readlink", f"{DATA}/bin").stdout
    for unit in (product.CONTAINERD, product.KUBELET):
        assert f"/data/{version}" in node.run("readlink", f"/proc/{node.main_pid(unit)}/exe").stdout
    images = node.sh(f"grep -h ' image:' {DATA}/agent/pod-manifests/*.yaml").stdout.splitlines()
    assert len(images) == len(product.COMPONENTS)
    assert all(line.endswith(f'{tag}"') for line in images)
    node.wait_for("all to be well", ["rke2-units", "status"], timeout=60)


def test_pods_live_on_through_a_move_to_another_release_and_back(registry: Registry) -> None:
    node = registry.node
    run_workload(registry, "first")
    first = processes(node, "first")
    assert versions(node) == [OLD]

    release = node.read("/var/lib/rke2-units/installation.json")
    node.write(IMAGE_LIST, "\n".join(image_list(content("bookworm"), ANOTHER_RELEASE)) + "\n")
    node.run("rke2-units", "release", "fetch", ANOTHER_RELEASE, "--from", IMAGE_LIST)
    # What is known of a release changes nothing.
    assert node.read("/var/lib/rke2-units/installation.json") == release
    move(node, ANOTHER_RELEASE)
    assert_runs(node, NEW, "-rke2r9")
    assert processes(node, "first") == first
    # The shims of the first pod were started from it.
    assert versions(node) == [OLD, NEW]

    run_workload(registry, "second")
    both = processes(node, "first", "second")
    since = node.now()
    move(node, content("bookworm").release)
    assert_runs(node, OLD, "-rke2r1")
    assert processes(node, "first", "second") == both
    assert versions(node) == [OLD, NEW]
    assert not registry.asked_for("/v2/rancher/rke2-runtime/", since)

    # When nothing runs from a version any more, the next start removes it.
    pods.remove(node, "second")
    node.wait_for(
        "the second pod to go",
        lambda: not any(each.pod == "second" for each in node.containers().values()),
        timeout=60,
    )
    node.systemctl("restart", SERVER)
    product.wait_until_running(node)
    assert versions(node) == [OLD]
    assert processes(node, "first") == first
