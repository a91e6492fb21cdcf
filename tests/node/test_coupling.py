"""What systemd does with units that depend on each other: the ground that the unit templates stand on.

Run on each systemd version that is supported, so that a change of systemd's behaviour is seen here first.
"""

import pytest

from tests.nodes.machine import Node

UNITS = "/run/systemd/system"


class Pair:
    """A provider and a dependent, as containerd and the kubelet are, that do nothing but run."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def define(
        self, provider: str = "", dependent: str = "", dependent_service: str = "Restart=always"
    ) -> None:
        self.clear()
        self.node.write(
            f"{UNITS}/provider.service",
            f"[Unit]\nStartLimitIntervalSec=0\n{provider}\n"
            "[Service]\nRestart=always\nRestartSec=1\nExecStart=/bin/sleep infinity\n",
        )
        self.node.write(
            f"{UNITS}/dependent.service",
            f"[Unit]\nStartLimitIntervalSec=0\nAfter=provider.service\n{dependent}\n"
            f"[Service]\nRestartSec=1\n{dependent_service}\nExecStart=/bin/sleep infinity\n",
        )
        self.node.systemctl("daemon-reload")

    def clear(self) -> None:
        self.node.systemctl("stop", "dependent.service", "provider.service", check=False)
        self.node.systemctl("reset-failed", "dependent.service", "provider.service", check=False)

    def is_active(self, unit: str) -> bool:
        return self.node.unit(f"{unit}.service")["ActiveState"] == "active"

    def kill_provider(self) -> None:
        before = self.node.main_pid("provider.service")
        self.node.kill("provider.service")
        self.node.wait_for(
            "the provider to be back",
            lambda: self.is_active("provider") and self.node.main_pid("provider.service") != before,
            timeout=20,
        )


@pytest.fixture
def pair(bare_node: Node) -> Pair:
    return Pair(bare_node)


COUPLED = {"provider": "Wants=dependent.service", "dependent": "BindsTo=provider.service"}


def test_binds_to_alone_never_brings_the_dependent_back(pair: Pair) -> None:
    pair.define(dependent="BindsTo=provider.service")
    pair.node.systemctl("start", "provider.service", "dependent.service")
    pair.kill_provider()
    pair.node.run("sleep", "3")
    assert not pair.is_active("dependent")


def test_binds_to_with_wants_from_the_other_side_brings_it_back_each_time(pair: Pair) -> None:
    pair.define(**COUPLED)
    pair.node.systemctl("start", "provider.service")
    for _ in range(5):
        pair.kill_provider()
        pair.node.wait_for("the dependent to be back", lambda: pair.is_active("dependent"), timeout=20)


def test_a_dependent_that_was_stopped_by_hand_stays_stopped(pair: Pair) -> None:
    pair.define(**COUPLED)
    pair.node.systemctl("start", "provider.service")
    pair.node.systemctl("stop", "dependent.service")
    pair.node.run("sleep", "2")
    assert not pair.is_active("dependent")
    assert pair.is_active("provider")


def test_restarting_the_provider_by_hand_restarts_the_dependent(pair: Pair) -> None:
    pair.define(**COUPLED)
    pair.node.systemctl("start", "provider.service")
    before = pair.node.main_pid("dependent.service")
    pair.node.systemctl("restart", "provider.service")
    pair.node.wait_for("the dependent to be back", lambda: pair.is_active("dependent"), timeout=20)
    assert pair.node.main_pid("dependent.service") != before


def test_stopping_the_provider_by_hand_stops_both_for_good(pair: Pair) -> None:
    pair.define(**COUPLED)
    pair.node.systemctl("start", "provider.service")
    pair.node.systemctl("stop", "provider.service")
    pair.node.run("sleep", "2")
    assert not pair.is_active("provider")
    assert not pair.is_active("dependent")


def test_systemd_counts_its_own_restarts_and_not_those_by_hand(pair: Pair) -> None:
    # The node daemon tells a containerd that died from one that was restarted by this counter.
    pair.define()
    pair.node.systemctl("start", "provider.service")
    pair.kill_provider()
    assert pair.node.unit("provider.service")["NRestarts"] == "1"
    pair.node.systemctl("restart", "provider.service")
    assert pair.node.unit("provider.service")["NRestarts"] == "0"


def test_a_service_that_exits_cleanly_is_restarted_and_counted(pair: Pair) -> None:
    pair.define()
    pair.node.systemctl("start", "provider.service")
    pair.node.kill("provider.service", "TERM")
    pair.node.wait_for(
        "systemd to restart it", lambda: pair.node.unit("provider.service")["NRestarts"] == "1", timeout=20
    )


def test_a_part_of_dependency_stops_the_units_when_the_daemon_is_killed(pair: Pair) -> None:
    # Why nothing ties the units to the node daemon: containerd must outlive it (contract L5).
    pair.define(dependent="PartOf=provider.service", dependent_service="")
    pair.node.systemctl("start", "provider.service", "dependent.service")
    before = pair.node.main_pid("dependent.service")
    pair.kill_provider()
    pair.node.wait_for(
        "the dependent to be restarted with it",
        lambda: pair.node.main_pid("dependent.service") != before,
        timeout=20,
    )


def test_a_prefix_drop_in_gives_container_scopes_an_end_in_time(bare_node: Node) -> None:
    bare_node.sh(f"mkdir -p {UNITS}/cri-containerd-.scope.d")
    bare_node.write(
        f"{UNITS}/cri-containerd-.scope.d/50-test.conf",
        "[Unit]\nConflicts=shutdown.target\nBefore=shutdown.target\n[Scope]\nTimeoutStopSec=40\n",
    )
    bare_node.systemctl("daemon-reload")
    bare_node.sh(
        "setsid systemd-run --scope --unit=cri-containerd-0123.scope -p DefaultDependencies=no"
        " sleep 60 </dev/null >/dev/null 2>&1 &"
    )
    scope = "cri-containerd-0123.scope"
    bare_node.wait_for("the scope", lambda: bare_node.unit(scope)["ActiveState"] == "active", timeout=20)
    properties = bare_node.unit(scope)
    bare_node.systemctl("stop", scope)
    assert properties["TimeoutStopUSec"] == "40s"
    assert "shutdown.target" in properties["Conflicts"]
