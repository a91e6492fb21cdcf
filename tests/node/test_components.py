"""Components start in their order, and are stopped and started by hand: L1, L5, L7 and L8."""

from collections.abc import Iterator

import pytest

from tests.node.helpers import product
from tests.node.helpers.product import (
    COMPONENTS,
    CONTAINERD,
    KUBELET,
    SERVER,
    containers_live_on,
    pod_unit,
    state,
)
from tests.node.helpers.suites import on_each_systemd
from tests.node.helpers.wakings import wakings
from tests.nodes.machine import Node


@on_each_systemd
def test_l1_start_returns_when_the_cluster_answers_and_the_node_is_registered(server: Node) -> None:
    server.systemctl("stop", "rke2-server")
    product.start(server)
    health = server.run("curl", "-s", "http://127.0.0.1:2381/health").stdout
    assert '"health":"true"' in health
    assert server.kubectl("get", "--raw=/readyz").stdout == "ok"
    assert server.run("curl", "-s", "http://127.0.0.1:10248/healthz").stdout == "ok"
    assert server.name in server.kubectl("get", "nodes", "-o", "name").stdout


def test_l1_components_come_up_in_the_order_of_the_design(server: Node) -> None:
    # Containers that live on are there before what they wait for in a cold start.
    server.run("rke2-units", "killall")
    since = server.now()
    product.start(server)
    entered = {
        unit: int(server.unit(unit)["ActiveEnterTimestampMonotonic"])
        for unit in ("rke2-content.service", CONTAINERD, pod_unit("etcd"), pod_unit("kube-apiserver"))
    }
    assert list(entered.values()) == sorted(entered.values()), entered
    waits = server.journal(SERVER, since=since)
    positions = [waits.index(f"waiting for {name}") for name in ("content", "etcd", "kube-apiserver")]
    assert positions == sorted(positions)


@pytest.fixture
def slow_kubelet(server: Node) -> Iterator[Node]:
    """The server, stopped; its kubelet takes some seconds longer to start."""
    drop_in = "/run/systemd/system/rke2-kubelet.service.d/slow.conf"
    server.systemctl("stop", "rke2-server")
    server.write(drop_in, "[Service]\nExecStartPre=sleep 8\n")
    server.systemctl("daemon-reload")
    yield server
    server.run("rm", drop_in)
    server.systemctl("daemon-reload")


def test_a_start_sleeps_while_it_waits(slow_kubelet: Node) -> None:
    slow_kubelet.systemctl("start", "--no-block", "rke2-server")
    slow_kubelet.wait_for(
        "the start to wait for the kubelet",
        lambda: product.status_text(slow_kubelet) == "starting: waiting for kubelet",
        timeout=60,
    )
    assert wakings(slow_kubelet, SERVER, 2) < 300
    product.wait_until_running(slow_kubelet)


def test_l5_a_daemon_killed_in_the_middle_of_a_start_finishes_it(server: Node) -> None:
    server.systemctl("stop", "rke2-server")
    server.systemctl("start", "--no-block", "rke2-server")
    server.wait_for("the kubelet to start", lambda: server.main_pid(KUBELET) != 0, timeout=30)
    pids = {unit: server.main_pid(unit) for unit in (CONTAINERD, KUBELET)}
    server.kill(SERVER)
    product.wait_until_running(server)
    assert {unit: server.main_pid(unit) for unit in pids} == pids


@on_each_systemd
def test_l7_stopping_a_static_pod_removes_it_and_nothing_else(server: Node) -> None:
    unit, pod = pod_unit("kube-scheduler"), f"kube-scheduler-{server.name}"
    before = product.pods_of(server)
    server.run("systemctl", "stop", unit, timeout=90)
    after = product.pods_of(server)
    assert after == {name: sandbox for name, sandbox in before.items() if name != pod}
    server.run("systemctl", "start", unit, timeout=120)
    again = product.pods_of(server)
    assert again.keys() == before.keys() and again[pod] != before[pod]


def test_l7_restarting_a_static_pod_replaces_it(server: Node) -> None:
    unit, pod = pod_unit("kube-controller-manager"), f"kube-controller-manager-{server.name}"
    before = product.pods_of(server)
    server.run("systemctl", "restart", unit, timeout=120)
    after = product.pods_of(server)
    assert {name for name in before if before[name] != after.get(name)} == {pod}


@pytest.mark.parametrize("unit", [KUBELET, CONTAINERD, *(pod_unit(component) for component in COMPONENTS)])
def test_l8_a_component_stopped_by_hand_stays_stopped_until_it_is_started(server: Node, unit: str) -> None:
    name = unit.removeprefix("rke2-").removeprefix("static-pod@").removesuffix(".service")
    daemon = server.main_pid(SERVER)
    server.run("systemctl", "stop", unit, timeout=90)
    server.wait_for(
        "the daemon to say so",
        lambda: (
            product.status_text(server).startswith("degraded: ")
            and f"{name} was stopped by hand" in product.status_text(server)
        ),
        timeout=30,
    )
    # A unit that systemd has forgotten must not keep the daemon asking for it.
    assert wakings(server, SERVER, 3) < 100
    assert state(server, unit) == "inactive"
    assert server.main_pid(SERVER) == daemon
    server.run("systemctl", "start", unit, timeout=120)
    # The kubelet is bound to containerd, and containerd wants it.
    product.wait_until_running(server)


@on_each_systemd
def test_l8_a_start_of_rke2_server_starts_what_was_stopped_by_hand(server: Node) -> None:
    unit = pod_unit("kube-scheduler")
    server.run("systemctl", "stop", unit, timeout=90)
    server.wait_for(
        "the daemon to say so", lambda: "stopped by hand" in product.status_text(server), timeout=30
    )
    # Brought back by systemd after a crash, the daemon still leaves it alone.
    daemon = server.main_pid(SERVER)
    server.kill(SERVER)
    product.wait_for_another_process(server, SERVER, daemon, timeout=30)
    server.wait_for(
        "the daemon to remember", lambda: "stopped by hand" in product.status_text(server), timeout=30
    )
    assert state(server, unit) == "inactive"
    server.systemctl("restart", "rke2-server")
    product.wait_until_running(server)


@on_each_systemd
def test_l8_restarting_containerd_by_hand_leaves_the_daemon_running(server: Node) -> None:
    pids = {unit: server.main_pid(unit) for unit in (SERVER, CONTAINERD, KUBELET)}
    with containers_live_on(server):
        server.systemctl("restart", "rke2-containerd")
        product.wait_until_running(server)
    assert server.main_pid(SERVER) == pids[SERVER]
    assert server.main_pid(CONTAINERD) != pids[CONTAINERD]
    assert server.main_pid(KUBELET) != pids[KUBELET]
