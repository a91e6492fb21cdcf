"""The lifecycle contract's bounds on a real node: L2 to L6, as systemd sees processes end, and L14.

L1, L7 and L8 are in test_components.py, the other lines have files of their own.
"""

import time

import pytest

from tests.node.helpers import product
from tests.node.helpers.product import CONTAINERD, KUBELET, SERVER, containers_live_on, state
from tests.node.helpers.suites import on_each_systemd
from tests.nodes.machine import Node

pytestmark = pytest.mark.alone


def times(server: Node) -> int:
    """The contract says ten times in a row; on another systemd the same need not be seen as often."""
    return 10 if server.suite == "bookworm" else 2


@on_each_systemd
@pytest.mark.parametrize("how", ["KILL", "TERM", "QUIT"])
def test_l2_the_whole_set_comes_back_after_containerd_has_ended(server: Node, how: str) -> None:
    for _ in range(times(server) if how == "KILL" else 1):
        daemon = server.main_pid(SERVER)
        with containers_live_on(server):
            server.kill(CONTAINERD, how)
            product.wait_for_another_process(server, SERVER, daemon, timeout=15)
            assert product.wait_until_running(server, timeout=15) < 15
    assert "ended unexpectedly" in server.journal(SERVER)


@on_each_systemd
@pytest.mark.parametrize("how", ["KILL", "TERM"])
def test_l3_the_kubelet_is_restarted_and_the_daemon_keeps_its_pid(server: Node, how: str) -> None:
    daemon = server.main_pid(SERVER)
    for _ in range(times(server) if how == "KILL" else 1):
        kubelet = server.main_pid(KUBELET)
        with containers_live_on(server):
            server.kill(KUBELET, how)
            product.wait_for_another_process(server, KUBELET, kubelet, timeout=6)
            product.wait_until_running(server)
    assert server.main_pid(SERVER) == daemon


@on_each_systemd
@pytest.mark.parametrize("how", ["systemctl stop", "SIGTERM"])
def test_l4_a_stop_ends_every_unit_and_no_container(server: Node, how: str) -> None:
    with containers_live_on(server):
        began = time.monotonic()
        if how == "SIGTERM":
            server.kill(SERVER, "TERM")
        else:
            server.systemctl("stop", "rke2-server")
        server.wait_for(
            "all units to be inactive",
            lambda: set(product.states(server, SERVER, *product.UNITS)) == {"inactive"},
            timeout=20,
        )
        assert time.monotonic() - began < 20
        # Longer than RestartSec= of any unit of ours: nothing comes back.
        server.run("sleep", "3")
        assert state(server, SERVER) == "inactive"
    assert "failed" not in server.sh("systemctl list-units --all --no-legend --state=failed 'rke2-*'").stdout


@on_each_systemd
def test_l5_a_killed_daemon_comes_back_and_touches_nothing(server: Node) -> None:
    for _ in range(times(server)):
        pids = {unit: server.main_pid(unit) for unit in (SERVER, CONTAINERD, KUBELET)}
        with containers_live_on(server):
            server.kill(SERVER)
            product.wait_for_another_process(server, SERVER, pids[SERVER], timeout=10)
            assert product.wait_until_running(server, timeout=10) < 10
        assert server.main_pid(CONTAINERD) == pids[CONTAINERD]
        assert server.main_pid(KUBELET) == pids[KUBELET]


@on_each_systemd
def test_l6_a_start_after_a_stop_finds_its_containers_again(server: Node) -> None:
    with containers_live_on(server):
        server.systemctl("stop", "rke2-server")
        assert product.start(server) < 10


def test_l14_a_new_package_touches_nothing_that_runs_and_what_runs_goes_on_working(server: Node) -> None:
    units = (SERVER, CONTAINERD, KUBELET)
    release = server.read("/var/lib/rke2-units/installation.json")
    daemon = server.main_pid(SERVER)
    pids = {unit: server.main_pid(unit) for unit in units}
    with containers_live_on(server):
        product.upgrade(server)
        assert {unit: server.main_pid(unit) for unit in units} == pids
        assert product.is_running(server)
        server.kill(CONTAINERD)
        product.wait_for_another_process(server, SERVER, daemon, timeout=15)
        assert product.wait_until_running(server, timeout=15) < 15
    installed = server.run("dpkg-query", "--show", "--showformat=${Version}", "rke2-units").stdout
    assert installed.startswith(product.NEXT_VERSION)
    # The release is pinned, whatever the new package's default is.
    assert server.read("/var/lib/rke2-units/installation.json") == release
    server.run("rke2-units", "install", "--role", "server")
    assert server.read("/var/lib/rke2-units/installation.json") == release
    assert server.run("rke2-units", "diff").stdout == ""
