"""What a plan warns of: it is allowed, and seldom what was meant."""

from dataclasses import replace

import pytest

from rke2_units.errors import ConfigurationError
from rke2_units.model import NodeFacts
from rke2_units.plan import make_plan, soundness
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import CASES, MACHINE

NEW = release(DEFAULT)


def warnings(values: dict[str, object], facts: NodeFacts = MACHINE) -> tuple[str, ...]:
    return make_plan(Role.SERVER, make_config(Role.SERVER, values), facts, NEW).warnings


def test_the_plans_cases_warn_of_nothing() -> None:
    for node in CASES.values():
        assert make_plan(node.role, node.config(), node.facts, NEW).warnings == ()


def test_addresses_that_no_interface_has() -> None:
    facts = replace(MACHINE, foreign_addresses=("203.0.113.77", "203.0.113.78"))
    problem = "is on no interface of this machine: nothing can listen there"
    assert warnings({"node-ip": "203.0.113.77", "bind-address": "203.0.113.78"}, facts) == (
        f"test: node-ip 203.0.113.77 {problem} "
        "(an address that leads here from outside is a node-external-ip)",
        f"test: bind-address 203.0.113.78 {problem}",
    )


@pytest.mark.parametrize(
    ("values", "network", "problem"),
    [
        (
            {"cluster-cidr": "10.199.0.0/16"},
            "10.199.0.0/16",
            "test: cluster-cidr 10.199.0.0/16 overlaps with 10.199.0.0/16, which",
        ),
        ({}, "10.43.12.0/24", "default: service-cidr 10.43.0.0/16 overlaps with 10.43.12.0/24, which"),
        ({}, "10.0.0.0/8", "default: service-cidr 10.43.0.0/16 overlaps with 10.0.0.0/8, which"),
        ({}, "172.17.0.0/16", ""),
        ({}, "fd00:42::/64", ""),
        ({"cluster-cidr": "10.199.0.0/16", "cni": "none"}, "10.199.0.0/16", ""),
    ],
)
def test_ranges_over_the_machines_own_networks(
    values: dict[str, object], network: str, problem: str
) -> None:
    found = warnings(values, replace(MACHINE, networks=(("eth1", network),)))
    assert [line[: len(problem)] for line in found][:1] == ([problem] if problem else [])
    assert all(f"{network}, which this machine is connected to (eth1): " in line for line in found)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("rke2-nginxx", " (did you mean rke2-ingress-nginx?)"),
        ("coredns", " (did you mean rke2-coredns?)"),
        ("my-ap", " (did you mean my-app?)"),
        ("qqq", ""),
    ],
)
def test_names_in_disable_that_nothing_has(name: str, suggestion: str) -> None:
    facts = replace(MACHINE, manifests=frozenset(("my-app", "folder/sub")))
    assert warnings({"disable": ["rke2-coredns", name, "my-app", "folder/sub"]}, facts) == (
        f"test: disable names '{name}', which is neither a packaged chart nor a file in "
        f"server/manifests{suggestion}",
    )
    # Who may not look into the folder cannot tell.
    assert warnings({"disable": name}) == ()


def test_labels_and_taints_that_come_too_late() -> None:
    registered = {"node-label": ("a=b", "keep=1", "gone=x"), "node-taint": ("t=v:NoSchedule",)}
    facts = replace(MACHINE, registered=registered)
    same: dict[str, object] = {
        "node-label": ["keep=1", "gone=x", "a=b"],
        "node-taint": ["t=v:NoSchedule"],
    }
    assert warnings(same, facts) == ()
    changed: dict[str, object] = {"node-label": ["a=c", "keep=1", "new=y"], "node-taint": ["u:NoExecute"]}
    assert warnings(changed, facts) == (
        "test: node-label has changed, but applies only at registration: this node is already registered "
        "(kubectl label node node1 --overwrite gone- a=c new=y)",
        "test: node-taint has changed, but applies only at registration: this node is already registered "
        "(kubectl taint node node1 --overwrite t:NoSchedule- u:NoExecute)",
    )
    assert warnings(changed) == ()


@pytest.mark.parametrize("domain", ["Cluster.Local", "my_cluster.local"])
def test_a_cluster_keeps_a_domain_that_a_new_one_does_not_get(domain: str) -> None:
    values: dict[str, object] = {"cluster-domain": domain}
    problem = (
        f"test: cluster-domain must be a DNS name of lower-case letters, digits, '-' and '.', got '{domain}'"
    )
    with pytest.raises(ConfigurationError) as error:
        warnings(values)
    assert str(error.value) == problem
    assert warnings(values, replace(MACHINE, in_cluster=True)) == (f"{problem} ({soundness.KEPT})",)
