"""Servers that share the work: one with etcd alone, one with all but etcd, and then all of it on both.

In the order of the file, the same two nodes go through all of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.node.helpers import product
from tests.node.helpers.cluster import PROXY, install, machines, members, url, voters, wait_until_ready
from tests.node.helpers.product import CONFIG, SERVER, pod_unit, state
from tests.nodes.nspawn import NspawnNode

ETCD_ALONE = "disable-apiserver: true\ndisable-controller-manager: true\ndisable-scheduler: true\n"
ROLE = "node-role.kubernetes.io/"


@dataclass(frozen=True)
class Nodes:
    etcd: NspawnNode
    control_plane: NspawnNode


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with machines("bookworm", "roles-etcd", "roles-control-plane") as [etcd, control_plane]:
        install(etcd, config=ETCD_ALONE)
        install(control_plane, server=etcd, config="disable-etcd: true\n")
        yield Nodes(etcd, control_plane)


def roles(via: NspawnNode, node: NspawnNode) -> set[str]:
    """What the node is labelled with."""
    found = json.loads(via.kubectl("get", "node", node.name, "-o", "json").stdout)
    return {name.removeprefix(ROLE) for name in found["metadata"]["labels"] if name.startswith(ROLE)}


def wait_for_roles(via: NspawnNode, node: NspawnNode, *wanted: str) -> None:
    via.wait_for(f"{node.name} to be {wanted}", lambda: roles(via, node) == set(wanted), timeout=60)


def wait_until_well(node: NspawnNode) -> None:
    node.wait_for("rke2-server to be well", lambda: product.status_text(node) == "running", timeout=120)


def test_a_server_with_etcd_alone_is_up_before_there_is_any_api_server(nodes: Nodes) -> None:
    product.start(nodes.etcd)
    assert state(nodes.etcd, pod_unit("etcd")) == "active"
    assert state(nodes.etcd, pod_unit("kube-apiserver")) == "inactive"
    # What else it runs waits, and it says for what.
    assert state(nodes.etcd, pod_unit("kube-proxy")) == "activating"
    assert "kube-proxy" in product.status_text(nodes.etcd)


def test_a_server_without_etcd_makes_a_whole_cluster_with_it(nodes: Nodes) -> None:
    product.start(nodes.control_plane)
    assert state(nodes.control_plane, pod_unit("etcd")) == "inactive"
    # The other one finds its API server by itself.
    wait_until_ready(nodes.control_plane, nodes.etcd.name, nodes.control_plane.name)
    for node in (nodes.etcd, nodes.control_plane):
        wait_until_well(node)
    wait_for_roles(nodes.control_plane, nodes.etcd, "etcd")
    wait_for_roles(nodes.control_plane, nodes.control_plane, "control-plane")


def test_kubectl_works_on_both(nodes: Nodes) -> None:
    for node in (nodes.etcd, nodes.control_plane):
        assert nodes.etcd.name in node.kubectl("get", "nodes").stdout


def test_a_restart_changes_nothing(nodes: Nodes) -> None:
    for node in (nodes.etcd, nodes.control_plane):
        with product.containers_live_on(node):
            node.systemctl("restart", SERVER)
            wait_until_well(node)


def test_a_server_without_etcd_waits_for_the_members_that_it_lost(nodes: Nodes) -> None:
    asked = ("--request-timeout=2s", "get", "namespaces")
    nodes.etcd.systemctl("stop", pod_unit("etcd"))
    nodes.control_plane.wait_for(
        "the API to miss its etcd",
        lambda: nodes.control_plane.kubectl(*asked, check=False).returncode != 0,
        timeout=60,
    )
    nodes.etcd.systemctl("start", pod_unit("etcd"))
    wait_until_ready(nodes.control_plane, nodes.etcd.name, nodes.control_plane.name, timeout=180)


def test_a_member_of_etcd_cannot_drop_it_while_it_has_its_data(nodes: Nodes) -> None:
    before = nodes.etcd.read(CONFIG)
    server = f"server: {url(nodes.control_plane)}\n"
    nodes.etcd.write(CONFIG, f"{product.BASIC_CONFIG}{server}disable-etcd: true\n")
    assert nodes.etcd.systemctl("restart", SERVER, check=False).returncode != 0
    assert "while this server is a member of etcd" in product.status_text(nodes.etcd)
    nodes.etcd.write(CONFIG, before)
    nodes.etcd.systemctl("restart", SERVER)
    wait_until_well(nodes.etcd)


def test_dropping_the_keys_gives_a_server_the_other_role_too(nodes: Nodes) -> None:
    for node in (nodes.etcd, nodes.control_plane):
        node.write(CONFIG, product.BASIC_CONFIG)
        node.systemctl("restart", SERVER)
        product.wait_until_running(node)
        assert state(node, PROXY) == "inactive"
    names = {nodes.etcd.name, nodes.control_plane.name}
    nodes.etcd.wait_for("both to vote", lambda: voters(nodes.etcd) == names, timeout=60)
    assert len(members(nodes.etcd)) == 2
    for node in (nodes.etcd, nodes.control_plane):
        wait_for_roles(nodes.etcd, node, "control-plane", "etcd")


def test_a_server_gives_its_control_plane_back(nodes: Nodes) -> None:
    nodes.etcd.write(CONFIG, product.BASIC_CONFIG + ETCD_ALONE)
    nodes.etcd.systemctl("restart", SERVER)
    wait_until_well(nodes.etcd)
    assert f"kube-apiserver-{nodes.etcd.name}" not in product.pods_of(nodes.etcd)
    wait_until_ready(nodes.etcd, nodes.etcd.name, nodes.control_plane.name)
    wait_for_roles(nodes.etcd, nodes.etcd, "etcd")
