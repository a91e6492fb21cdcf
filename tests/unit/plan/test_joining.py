"""What the plan has for nodes that join others, and that none of it is there before it is switched on."""

import pytest

from rke2_units.config.load import make_config
from rke2_units.errors import ConfigurationError
from rke2_units.names import Role
from rke2_units.plan import joining, make_plan
from rke2_units.release.table import DEFAULT, release
from tests.unit.plan.cases import AGENT, CASES, MACHINE

RELEASE = release(DEFAULT)


@pytest.mark.parametrize(
    ("role", "values"),
    [
        (Role.SERVER, {"server": "https://first.example:9345", "token": "x"}),
        (Role.SERVER, {"bind-address": "10.1.2.3"}),
        (Role.SERVER, {"token-require-ca-pin": True}),
        (Role.AGENT, {**AGENT, "lb-server-port": 7000}),
        (Role.AGENT, {**AGENT, "node-internal-dns": "node.example"}),
        (Role.SERVER, {"kube-cloud-controller-manager-arg": ["v=2"]}),
        (Role.SERVER, {"cloud-controller-manager-extra-mount": ["/a:/b"]}),
        (Role.SERVER, {"cloud-controller-manager-extra-env": ["A=b"]}),
        (Role.SERVER, {"cloud-controller-manager-image": "example.com/ccm:1"}),
    ],
    ids=str,
)
def test_a_key_of_joining_is_refused_until_nodes_join(
    role: Role, values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(role, values)
    name = next(name for name in values if name not in AGENT or role is Role.SERVER)
    monkeypatch.setattr(joining, "JOINING", False)
    with pytest.raises(ConfigurationError, match=f"test: {name} cannot be used: rke2-units "):
        make_plan(role, config, MACHINE, RELEASE)
    monkeypatch.setattr(joining, "JOINING", True)
    make_plan(role, config, MACHINE, RELEASE)


@pytest.mark.parametrize("values", [{"lb-server-port": 6444}, {"bind-address": "0.0.0.0"}], ids=str)
def test_its_default_is_not_refused(values: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "JOINING", False)
    make_plan(Role.SERVER, make_config(Role.SERVER, values), MACHINE, RELEASE)


def test_an_agent_may_name_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "JOINING", False)
    make_plan(Role.AGENT, CASES["agent"].config(), MACHINE, RELEASE)
