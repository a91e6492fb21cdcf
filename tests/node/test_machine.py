"""The contract on a machine with a kernel of its own, cgroup v2 and every capability: L1, L4, L6 and L10.

Emulated, and some twenty times slower than a container: part of the long series only. The bounds of the
contract that are about our own units hold here too; those that a start by hand would miss as well do not.
It needs both processors: with half of them kube-controller-manager ends itself three times, as the API does
not answer within 10 s, and `systemctl start` fails after 10 minutes (the attempt that follows succeeds).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.helpers import product
from tests.node.helpers.product import SERVER, containers_live_on
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.qemu import QemuNode
from tests.package import build_deb

pytestmark = [pytest.mark.long, pytest.mark.alone]

SUITE = "bookworm"
START_TIMEOUT = 1200.0


@pytest.fixture(scope="module")
def machine() -> Iterator[Node]:
    made = content(SUITE)
    deb: Path = build_deb(SUITE)
    with QemuNode.boot("machine", SUITE, made, replace=True) as node:
        product.install(node, deb, made.release)
        product.start(node, timeout=START_TIMEOUT)
        product.wait_until_running(node, timeout=START_TIMEOUT)
        yield node


@pytest.mark.contract("L1")
def test_l1_a_machine_comes_up_and_its_node_is_ready(machine: Node) -> None:
    machine.wait_for(
        "the node to be Ready",
        lambda: " Ready " in machine.kubectl("get", "nodes", "--no-headers").stdout,
        timeout=300,
    )
    assert machine.run("stat", "-fc", "%T", "/sys/fs/cgroup").stdout.strip() == "cgroup2fs"


@pytest.mark.contract("L4", "L6")
def test_l4_and_l6_a_stop_leaves_containers_and_a_start_finds_them(machine: Node) -> None:
    with containers_live_on(machine):
        machine.systemctl("stop", "rke2-server")
        assert set(product.states(machine, SERVER, *product.UNITS)) == {"inactive"}
        product.start(machine, timeout=START_TIMEOUT)
        product.wait_until_running(machine, timeout=START_TIMEOUT)


@pytest.mark.contract("L10")
def test_l10_a_reboot_brings_the_node_back_without_help(machine: Node) -> None:
    boot_id = machine.boot_id()
    machine.reboot()
    assert machine.boot_id() != boot_id
    product.wait_until_running(machine, timeout=START_TIMEOUT)
