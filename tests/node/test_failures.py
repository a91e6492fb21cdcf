"""L9: a component that cannot start is named with its cause, and tried again until that is gone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.node.helpers import faults, product
from tests.node.helpers.failing import failing_start, stopped
from tests.node.helpers.faults import Fault
from tests.node.helpers.product import BASIC_CONFIG, CONFIG, SERVER, state
from tests.nodes.machine import Node


@pytest.fixture
def stopped_server(server: Node) -> Iterator[Node]:
    with stopped(server):
        yield server


@pytest.mark.contract("L9")
def test_attempts_are_counted_in_the_status_with_growing_pauses_until_the_cause_is_gone(
    stopped_server: Node,
) -> None:
    node = stopped_server
    with faults.KUBELET_FLAG.on(node):
        start = failing_start(node)
        start.tells(*faults.KUBELET_FLAG.tells)
        node.wait_for("the third attempt", lambda: "attempt 3 at" in product.status_text(node), timeout=60)
        assert "kubelet does not start" in product.status_text(node)
    # By itself: nobody starts anything.
    product.wait_until_running(node)
    lines = [line for line in node.journal(SERVER, since=start.since).splitlines() if ": attempt " in line]
    pauses = []
    for line in lines[:2]:
        said, due = line.split()[2], line.split(" at ")[1].split(";")[0]
        pauses.append(seconds(due) - seconds(said))
    assert 2 < pauses[0] < pauses[1], lines


def seconds(clock: str) -> float:
    """Since midnight."""
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


@pytest.mark.contract("L9")
def test_a_component_that_is_the_last_to_start_is_waited_for_and_named_when_it_cannot(
    stopped_server: Node,
) -> None:
    with faults.SCHEDULER_FLAG.on(stopped_server):
        failing_start(stopped_server).tells(*faults.SCHEDULER_FLAG.tells)
        stopped_server.wait_for(
            "the second attempt", lambda: "attempt 2" in product.status_text(stopped_server), timeout=20
        )
    # By itself: nobody starts anything.
    product.wait_until_running(stopped_server)


@pytest.mark.contract("L9")
def test_a_restart_in_the_middle_of_another_attempt_goes_by_the_configuration_that_was_mended(
    server: Node,
) -> None:
    node, apiserver = server, product.pod_unit("kube-apiserver")
    with mistaken_apiserver(node):
        failing_start(node, "restart").tells("kube-apiserver", "xyz")
        node.wait_for(
            "the second attempt to be at the pod",
            lambda: node.unit(apiserver)["ActiveState"] == "activating",
            timeout=120,
        )
    since = node.now()
    node.run("systemctl", "restart", "rke2-server", timeout=150)
    for unit in (SERVER, apiserver):
        assert "xyz" not in node.journal(unit, since=since)
    product.wait_until_running(node)


@pytest.mark.contract("L9")
def test_a_start_that_joins_one_with_a_mistake_ends_with_the_configuration_that_was_mended(
    server: Node,
) -> None:
    node, apiserver = server, product.pod_unit("kube-apiserver")
    since = node.now()
    with mistaken_apiserver(node):
        node.systemctl("restart", "--no-block", "rke2-server")
        node.wait_for(
            "the mistake to be waited for",
            lambda: (
                "waiting for kube-apiserver" in product.status_text(node)
                and node.unit(apiserver)["ActiveState"] == "activating"
            ),
            timeout=120,
        )
    # systemd adds nothing to the start that is under way.
    node.run("systemctl", "start", "rke2-server", timeout=150)
    assert "the configuration has changed: starting again with it" in node.journal(SERVER, since=since)
    product.wait_until_running(node)


@pytest.mark.contract("L9")
def test_a_manifest_that_the_kubelet_refuses_is_named_with_its_words(server: Node) -> None:
    unit = product.pod_unit("kube-scheduler")
    staged = f"{faults.DATA}/agent/static-pods/kube-scheduler.yaml"
    # Nothing that config.yaml may say makes such a pod.
    server.sh(f"sed -i '0,/mountPath:.*/s//mountPath: /' {staged}")
    try:
        since = server.now()
        assert server.systemctl("restart", unit, check=False, timeout=120).returncode != 0
        said = server.journal(unit, since=since)
        assert "kube-scheduler is refused by the kubelet: " in said and "mountPath: Required value" in said
    finally:
        server.systemctl("restart", "rke2-server")
        product.wait_until_running(server)


@contextmanager
def mistaken_apiserver(node: Node) -> Iterator[None]:
    node.write(CONFIG, BASIC_CONFIG + "kube-apiserver-arg: [audit-log-maxage=xyz]\n")
    try:
        yield
    finally:
        node.write(CONFIG, BASIC_CONFIG)


# One killall and one cold start for all three.


@pytest.fixture(scope="module")
def killed_server(_server_of: Callable[[str], Node]) -> Iterator[Node]:
    """The server, with nothing of it left running."""
    node = _server_of("bookworm")
    with stopped(node):
        node.run("rke2-units", "killall")
        yield node


@pytest.mark.contract("L9")
@pytest.mark.parametrize("fault", faults.EARLY.values(), ids=faults.EARLY)
def test_what_is_missing_full_or_taken_before_any_pod_starts_is_named(
    killed_server: Node, fault: Fault
) -> None:
    node = killed_server
    with fault.on(node):
        failing_start(node).tells(*fault.tells)
        assert state(node, SERVER) == "activating"
        node.systemctl("stop", "rke2-server")
    node.sh(fault.clean)


@pytest.mark.contract("L9")
def test_the_node_comes_up_by_itself_once_a_missing_image_is_there(killed_server: Node) -> None:
    with faults.EARLY["the runtime image missing"].on(killed_server):
        failing_start(killed_server)
    product.wait_until_running(killed_server)


@pytest.mark.long
@pytest.mark.contract("L9")
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=name) for name, fault in (faults.EARLY | faults.LATE).items()]
)
def test_whatever_keeps_a_component_from_starting_is_named_and_once_it_is_gone_the_node_comes_up(
    server: Node, fault: Fault
) -> None:
    with stopped(server, clean=fault.clean):
        with fault.on(server):
            failing_start(server).tells(*fault.tells)
            assert state(server, SERVER) == "activating"
        # By itself: nobody starts anything. The kubelet's back-off grows to five minutes.
        product.wait_until_running(server, timeout=420)
