"""A preparation: what it finds before it makes anything, what it writes, and what the daemon gets of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from rke2_units import layout
from rke2_units.config.config import Config
from rke2_units.controllers import settings as controllers_settings
from rke2_units.daemon import joining, preparation, units
from rke2_units.daemon.preparation import Prepared, prepare
from rke2_units.doors import journal
from rke2_units.errors import ConfigurationError
from rke2_units.lean import settings as program_settings
from rke2_units.model import NodeFacts, Plan
from rke2_units.node import apply, facts, foreign_containerd, installation
from rke2_units.node.apply import Change
from rke2_units.node.installation import Installation
from rke2_units.plan.node import Node
from rke2_units.release.table import DEFAULT, RELEASES
from rke2_units.unit_names import (
    API_PROXY_UNIT,
    CONTAINERD_UNIT,
    ETCD,
    ETCD_JOIN_UNIT,
    KUBE_APISERVER,
    KUBE_PROXY,
    KUBELET_UNIT,
    Role,
    component,
)
from rke2_units.unit_table import PROCESSES
from tests.unit.configs import make_config
from tests.unit.daemon.fake_systemd import FakeSystemd
from tests.unit.plan.cases import CASES, JOINING, MACHINE

_Answer = TypeVar("_Answer")


def ask(question: Callable[[], _Answer]) -> _Answer:
    return question()


class Machine:
    """What a preparation finds: configuration, machine, systemd. `did` has what it made, in this order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.systemd = FakeSystemd()
        self.role = Role.SERVER
        self.values: dict[str, object] = {}
        # One a look, the last one stays.
        self.facts = [MACHINE]
        self.installed = DEFAULT
        self.did: list[str] = []
        self.changes: list[Change] = []
        self.log: list[str] = []

    def prepare(self, *, taken_in: bool = False) -> Prepared:
        self.did.clear()
        return prepare(self.role, cast(Any, self.systemd), ask, taken_in=taken_in)


@pytest.fixture
def machine(tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "root")
    read_settings, read_controllers = program_settings.read, controllers_settings.read

    def gather(*arguments: object, **options: object) -> NodeFacts:
        machine.did.append("look")
        return machine.facts.pop(0) if len(machine.facts) > 1 else machine.facts[0]

    def write(plan: Plan, *, installation: Installation) -> list[Change]:
        machine.did.append("write")
        machine.changes = apply_below(plan, str(machine.root), installation)
        return machine.changes

    def did(what: str) -> Callable[..., None]:
        return lambda *arguments: machine.did.append(what)

    apply_below = apply.apply
    monkeypatch.setattr(installation, "of_role", lambda role: Installation(role, machine.installed, "/none"))
    monkeypatch.setattr(preparation, "load", lambda role, environment: make_config(role, machine.values))
    monkeypatch.setattr(facts, "gather", gather)
    monkeypatch.setattr(foreign_containerd, "refuse_to_leave", lambda paths, socket: None)
    monkeypatch.setattr(joining, "forget_invitation", did("forget the invitation"))
    monkeypatch.setattr(joining, "join_agent", lambda node, ask: (node.config, None))
    monkeypatch.setattr(joining, "join_server", did("join"))
    monkeypatch.setattr(preparation, "ensure", did("make certificates"))
    monkeypatch.setattr(installation, "make_digest_key", did("make the key"))
    monkeypatch.setattr(apply, "apply", write)
    monkeypatch.setattr(apply, "set_kernel_parameters", lambda plan: [])
    monkeypatch.setattr(apply, "tune_kernel", lambda plan: [])
    monkeypatch.setattr(program_settings, "read", lambda path: read_settings(f"{machine.root}{path}"))
    monkeypatch.setattr(controllers_settings, "read", lambda path: read_controllers(f"{machine.root}{path}"))
    monkeypatch.setattr(journal, "log", lambda level, message, **fields: machine.log.append(message))
    return machine


def unit_text(machine: Machine, unit: str) -> str:
    return Path(f"{machine.root}{layout.UNIT_DIRECTORY}/{unit}").read_text()


def test_a_preparation_makes_certificates_before_it_plans_and_writes(machine: Machine) -> None:
    machine.prepare()
    expected = ["forget the invitation", "look", "make certificates", "make the key", "look", "write"]
    assert machine.did == expected


def test_a_reset_is_no_start_and_the_first_start_after_it_is_a_normal_one(
    machine: Machine, tmp_path: Path
) -> None:
    machine.values = {"data-dir": str(tmp_path / "data")}
    flag = tmp_path / "data/server/db/reset-flag"
    flag.parent.mkdir(parents=True)
    flag.touch()
    machine.values["cluster-reset"] = True
    with pytest.raises(ConfigurationError, match="Managed etcd cluster membership was previously reset"):
        machine.prepare()
    assert machine.did == [] and flag.exists()
    del machine.values["cluster-reset"]
    machine.prepare()
    assert machine.did[-1] == "write" and not flag.exists()


def test_the_daemon_gets_the_digest_in_the_unit_of_each_process(machine: Machine) -> None:
    prepared = machine.prepare()
    assert set(prepared.digests) == {unit for unit in PROCESSES if unit in prepared.plan.units}
    for unit, digest in prepared.digests.items():
        assert digest and digest == units.planned_digest(unit_text(machine, unit))


def test_a_second_preparation_changes_nothing(machine: Machine) -> None:
    first = machine.prepare()
    assert machine.changes
    second = machine.prepare()
    assert machine.changes == []
    assert second.digests == first.digests


def test_systemd_reads_units_again_that_are_newer_than_what_it_has(machine: Machine) -> None:
    machine.prepare()
    assert machine.systemd.asked("daemon-reload") == []
    machine.systemd.outdated = {KUBELET_UNIT}
    machine.prepare()
    assert machine.systemd.asked("daemon-reload") == [""]


def test_a_node_has_one_role(machine: Machine) -> None:
    machine.systemd.run(Role.AGENT.unit)
    with pytest.raises(ConfigurationError, match="rke2-agent.service runs on this node"):
        machine.prepare()
    assert machine.did == []


@pytest.mark.parametrize(
    "values", [{"cluster-cidr": "10.43.0.0/16"}, {"content": "host"}, {"release": "v0.0.1+rke2r1"}]
)
def test_nonsense_is_found_before_anything_is_made(machine: Machine, values: dict[str, object]) -> None:
    machine.values = values
    with pytest.raises(ConfigurationError):
        machine.prepare()
    assert not {"make certificates", "make the key", "join", "write"} & set(machine.did)


def test_what_the_look_of_before_knew_of_the_first_start_stays(machine: Machine) -> None:
    machine.values = {"with-node-id": True}
    first = replace(MACHINE, node_id="0a1b2c3d")
    machine.facts = [first, replace(MACHINE, node_id="ffffffff", digest_key="key")]
    prepared = machine.prepare()
    assert prepared.plan.file(layout.NODE_ID_FILE).content == "0a1b2c3d\n"


def test_an_agent_is_planned_with_the_values_of_its_cluster(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.role, machine.values = Role.AGENT, dict(JOINING)

    def join(node: Node, ask: object) -> tuple[Config, str]:
        machine.did.append("join")
        joined = node.config.with_cluster({"cluster-domain": ("cluster.example",)}, "its servers")
        return joined, "its token has no hash"

    monkeypatch.setattr(joining, "join_agent", join)
    prepared = machine.prepare()
    assert machine.did == ["look", "join", "make certificates", "make the key", "look", "write"]
    assert "cluster.example" in prepared.plan.file(prepared.paths.kubelet_config).content
    assert "its token has no hash" in prepared.warnings
    # It has the API on other machines alone, and says of itself what a server's controllers would.
    assert prepared.api_elsewhere and not prepared.up_without_api
    assert prepared.api == component(API_PROXY_UNIT)
    assert prepared.static_pods == (KUBE_PROXY,)
    assert prepared.annotations
    assert prepared.servers is not None


def test_a_server_that_has_yet_to_join_starts_neither_kubelet_nor_pods(machine: Machine) -> None:
    machine.values, machine.facts = dict(JOINING), [replace(MACHINE, etcd_join=True)]
    prepared = machine.prepare()
    assert machine.did[:3] == ["forget the invitation", "look", "join"]
    assert prepared.plan.units[-1] == ETCD_JOIN_UNIT
    assert KUBELET_UNIT not in prepared.plan.units and KUBELET_UNIT in prepared.plan.all_units
    assert KUBELET_UNIT not in prepared.digests
    assert prepared.static_pods == ()
    assert prepared.servers is None


def test_a_server_that_was_taken_in_keeps_its_invitation(machine: Machine) -> None:
    machine.values = dict(JOINING)
    machine.prepare(taken_in=True)
    assert "forget the invitation" not in machine.did


def test_a_server_with_etcd_alone_is_up_without_an_api(machine: Machine) -> None:
    case = CASES["etcd-server"]
    machine.values, machine.facts = case.values, [case.facts]
    prepared = machine.prepare()
    assert prepared.api_elsewhere and prepared.up_without_api
    assert set(prepared.health_checks) == {"kubelet", ETCD, component(API_PROXY_UNIT)}
    assert prepared.servers is not None


def test_a_lone_server_asks_its_own_components(machine: Machine) -> None:
    prepared = machine.prepare()
    assert not prepared.api_elsewhere
    assert set(prepared.health_checks) == {"kubelet", ETCD, KUBE_APISERVER}
    assert prepared.node_url == "https://127.0.0.1:6443/api/v1/nodes/node1"
    assert prepared.servers is None and prepared.annotations == {}


def test_a_containerd_of_somebody_elses_is_named(machine: Machine) -> None:
    machine.values = {"container-runtime-endpoint": "unix:///run/containerd/containerd.sock"}
    prepared = machine.prepare()
    assert prepared.foreign_containerd == "/run/containerd/containerd.sock"
    assert CONTAINERD_UNIT not in prepared.plan.all_units


def test_another_release_is_told_of_and_recorded(machine: Machine) -> None:
    other = next(name for name in RELEASES if name != DEFAULT)
    machine.values = {"release": other}
    machine.prepare()
    assert f"the node moves from {DEFAULT} to {other}" in machine.log
    recorded = installation.read(str(machine.root))
    assert recorded is not None and recorded.release == other
