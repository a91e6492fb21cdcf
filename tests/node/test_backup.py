"""etcd is saved and put back as docs/administration.md has it, on a server that runs."""

import pytest

from tests.node.helpers import product
from tests.node.helpers.documentation import block
from tests.nodes.machine import Node

PAGE = "administration.md"


@pytest.fixture
def saved(server: Node) -> Node:
    """The shared server; a snapshot of it was saved, and something was made after that."""
    server.kubectl("create", "configmap", "before")
    server.sh(f"set -e\n{block(PAGE, 'snapshot save')}")
    server.kubectl("create", "configmap", "after")
    return server


def test_a_snapshot_that_was_saved_by_hand_is_put_back(saved: Node) -> None:
    saved.sh(f"set -e\n{block(PAGE, 'snapshot restore')}", timeout=product.PATIENCE)
    product.wait_until_running(saved)
    found = saved.kubectl("get", "configmaps", "-o", "name").stdout
    assert "configmap/before" in found and "configmap/after" not in found
    saved.kubectl("delete", "configmap", "before")
    assert saved.exists("/var/lib/rancher/rke2/server/db/member.old")
    saved.run("rm", "-r", "/var/lib/rancher/rke2/server/db/member.old")


def test_a_server_with_etcd_says_that_nothing_backs_it_up_and_is_well_all_the_same(server: Node) -> None:
    server.wait_for("all to be well", ["rke2-units", "status"], timeout=60)
    assert "note: nothing backs up etcd" in server.run("rke2-units", "status").stdout
    since = server.now()
    server.systemctl("restart", product.SERVER)
    product.wait_until_running(server)
    assert "nothing backs up etcd" in server.journal(product.SERVER, since=since)
