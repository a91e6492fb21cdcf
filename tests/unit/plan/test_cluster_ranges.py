"""Ranges that cannot work: refused for a new cluster, a warning for one that has them."""

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.config import derived
from rke2_units.config.yaml_file import parse
from rke2_units.errors import ConfigurationError
from rke2_units.model import NodeFacts, ServerList
from rke2_units.plan import make_plan
from rke2_units.plan.cluster_ranges import problems
from rke2_units.plan.node import Node
from rke2_units.plan.soundness import KEPT, check
from rke2_units.release.model import Release
from rke2_units.release.table import RELEASES, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config, of_files
from tests.unit.plan.cases import MACHINE, make_node

NEW = release("v1.36.4+rke2r1")
OLD = release("v1.20.2+rke2r1")
BOTH = replace(MACHINE, node_ips=("192.0.2.10", "2001:db8::10"))
# The dual-stack example of RKE2's documentation until the end of 2023, and its half.
OLD_DOCUMENTATION = (
    "cluster-cidr: 10.42.0.0/16,2001:cafe:42:0::/56\nservice-cidr: 10.43.0.0/16,2001:cafe:42:1::/112\n"
)
OLD_DOCUMENTATION_IPV6 = (
    "node-ip: 2001:db8::5\ncluster-cidr: 2001:cafe:42:0::/56\nservice-cidr: 2001:cafe:42:1::/112\n"
)


def found(values: dict[str, object], facts: NodeFacts = MACHINE, of: Release = NEW) -> list[str]:
    return [str(error) for error in problems(make_node(values, facts, of))]


@pytest.mark.parametrize(
    ("text", "line"), [(OLD_DOCUMENTATION, "f:2"), (OLD_DOCUMENTATION_IPV6, "f:3")], ids=["dual", "ipv6"]
)
def test_ranges_of_the_old_documentation_are_for_clusters_that_have_them(text: str, line: str) -> None:
    config = of_files(Role.SERVER, [parse(text.encode(), "f")])
    overlap = (
        f"{line}: service-cidr must not overlap: pods are in 2001:cafe:42::/56, services in "
        "2001:cafe:42:1::/112"
    )
    with pytest.raises(ConfigurationError) as error:
        make_plan(Role.SERVER, config, BOTH, NEW)
    assert error.value.message == overlap
    plan = make_plan(Role.SERVER, config, replace(BOTH, in_cluster=True), NEW)
    assert plan.warnings == (f"{overlap} ({KEPT})",)
    assert (
        "2001:cafe:42:1::/112"
        in plan.file("/var/lib/rancher/rke2/agent/static-pods/kube-apiserver.yaml").content
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"cluster-cidr": "10.43.128.0/17"},
            "test: cluster-cidr must not overlap: pods are in 10.43.128.0/17, services in 10.43.0.0/16 "
            "(take others; a cluster that has them keeps them (etcd has data, or server is set))",
        ),
        (
            {"service-cidr": "10.42.0.0/24"},
            "test: service-cidr must not overlap: pods are in 10.42.0.0/16, services in 10.42.0.0/24 "
            "(take others; a cluster that has them keeps them (etcd has data, or server is set))",
        ),
        (
            {"service-cidr": "2001:db8:1::/48"},
            "test: service-cidr must be /64 or smaller, the limit of kube-apiserver of "
            "v1.36.4+rke2r1, got 2001:db8:1::/48",
        ),
        (
            {"cluster-cidr": "10.99.0.0/28"},
            "test: cluster-cidr must be /24 or larger, as each node gets a /24 of it, got 10.99.0.0/28 "
            "(take a larger one, or set kube-controller-manager-arg: node-cidr-mask-size=)",
        ),
        (
            {"cluster-cidr": "10.99.0.0/16,fd02::/80"},
            "test: cluster-cidr must be /64 or larger, as each node gets a /64 of it, got fd02::/80 "
            "(take a larger one, or set kube-controller-manager-arg: node-cidr-mask-size-ipv6=)",
        ),
        (
            {"cluster-cidr": "2001:db8::/32", "node-ip": "fd00::1"},
            "test: cluster-cidr must be /48 or smaller, as each node gets a /64 of it, got 2001:db8::/32 "
            "(take a smaller one, or set kube-controller-manager-arg: node-cidr-mask-size=)",
        ),
        (
            {"cluster-cidr": "10.99.0.0/16", "kube-controller-manager-arg": "node-cidr-mask-size=12"},
            "test: cluster-cidr must be /12 or larger, as each node gets a /12 of it, got 10.99.0.0/16 "
            "(take a larger one, or set kube-controller-manager-arg: node-cidr-mask-size=)",
        ),
        (
            {"cluster-cidr": "192.0.0.0/16"},
            "test: cluster-cidr must not hold the address of this node, 192.0.2.10, got 192.0.0.0/16 "
            "(take a range that no machine has an address in)",
        ),
        (
            {"node-ip": "10.43.7.7"},
            "default: service-cidr must not hold the address of this node, 10.43.7.7, got 10.43.0.0/16 "
            "(take a range that no machine has an address in)",
        ),
        (
            {"cluster-dns": "10.99.0.10"},
            "test: cluster-dns must be an address for a service, "
            "but 10.99.0.10 is not: it is not in 10.43.0.0/16",
        ),
        (
            {"cluster-dns": "10.43.0.1"},
            "test: cluster-dns must be an address for a service, "
            "but 10.43.0.1 is not: the service kubernetes has it",
        ),
        (
            {"cluster-dns": "10.43.0.0"},
            "test: cluster-dns must be an address for a service, "
            "but 10.43.0.0 is not: it is 10.43.0.0/16's own",
        ),
        (
            {"cluster-dns": "10.43.255.255"},
            "test: cluster-dns must be an address for a service, "
            "but 10.43.255.255 is not: it is "
            "10.43.0.0/16's broadcast address",
        ),
    ],
)
def test_what_can_never_work_is_named(values: dict[str, object], problem: str) -> None:
    facts = BOTH if "fd02" in str(values) else MACHINE
    if "2001" in problem:
        facts = replace(MACHINE, node_ips=("fd00::1",))
    assert problem in found(values, facts)
    config = make_config(Role.SERVER, values)
    with pytest.raises(ConfigurationError):
        make_plan(Role.SERVER, config, facts, NEW)
    warnings = make_plan(Role.SERVER, config, replace(facts, in_cluster=True), NEW).warnings
    # What to do about it is for a new cluster.
    assert f"{problem.partition(' (take')[0]} ({KEPT})" in warnings


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"cluster-cidr": "10.192.0.0/10"},
        {"cluster-cidr": "10.99.0.0/24"},
        {"cluster-cidr": "10.99.0.0/28", "kube-controller-manager-arg": "node-cidr-mask-size=28"},
        {"cluster-cidr": "10.99.0.0/28", "kube-controller-manager-arg": "node-cidr-mask-size-ipv4=30"},
        {"cluster-cidr": "10.99.0.0/28", "kube-controller-manager-arg": "allocate-node-cidrs=false"},
        {"cluster-cidr": "10.99.0.0/28", "kube-controller-manager-arg": "controllers=*,-nodeipam"},
        {"cluster-cidr": "10.99.0.0/28", "kube-controller-manager-arg": "node-cidr-mask-size=what"},
        # Plugins of clouds give pods addresses of the nodes' network.
        {"cluster-cidr": "192.0.0.0/16", "cni": "none"},
        {"cluster-cidr": "192.0.0.0/16", "kube-controller-manager-arg": "allocate-node-cidrs=false"},
        {"cluster-dns": "169.254.20.10", "disable": "rke2-coredns"},
        {"cluster-dns": "10.43.0.53"},
        {"service-cidr": "10.96.0.0/12"},
    ],
)
def test_what_works_is_left_alone(values: dict[str, object]) -> None:
    assert found(values) == []
    assert found(values, of=OLD) == []


@pytest.mark.parametrize(
    ("service", "name", "works"),
    [
        ("10.96.0.0/12", "v1.20.2+rke2r1", True),
        ("10.0.0.0/11", "v1.20.2+rke2r1", False),
        ("10.0.0.0/11", "v1.36.4+rke2r1", True),
        ("fd43::/108", "v1.20.2+rke2r1", True),
        ("fd43::/107", "v1.20.2+rke2r1", False),
        ("fd43::/64", "v1.36.4+rke2r1", True),
        ("fd43::/63", "v1.36.4+rke2r1", False),
    ],
)
def test_kube_apiservers_took_smaller_ranges_before(service: str, name: str, works: bool) -> None:
    facts = replace(MACHINE, node_ips=("2001:db8::1",)) if ":" in service else MACHINE
    values: dict[str, object] = {"service-cidr": service}
    if ":" not in service:
        values["cluster-cidr"] = "172.30.0.0/16"
    assert (found(values, facts, RELEASES[name]) == []) == works


def test_a_range_may_be_larger_where_the_user_has_switched_that_on() -> None:
    early = replace(NEW, kubernetes=(1, 31))
    values: dict[str, object] = {"service-cidr": "10.0.0.0/11", "cluster-cidr": "172.30.0.0/16"}
    assert len(found(values, of=early)) == 1
    values["kube-apiserver-arg"] = (
        "feature-gates=MultiCIDRServiceAllocator=true,DisableAllocatorDualWrite=true"
    )
    assert found(values, of=early) == []


def test_all_that_cannot_work_is_told_at_once() -> None:
    text = "cluster-cidr: 10.192.0.0/10,fd02::/80\nservice-cidr: 10.96.0.0/12,2001:db8:1001::/48\n"
    config = of_files(Role.SERVER, [parse(text.encode(), "f")])
    with pytest.raises(ConfigurationError) as error:
        make_plan(Role.SERVER, config, BOTH, NEW)
    assert [str(each)[:40] for each in error.value.each()] == [
        "f:2: service-cidr must be /64 or smaller",
        "f:1: cluster-cidr must be /64 or larger,",
    ]


def test_an_agent_knows_the_ranges_that_its_servers_have_told_and_goes_on() -> None:
    values = {"server": "https://server.example:9345", "token": "x"}
    known = ServerList(("192.0.2.9:9345",))
    facts = replace(MACHINE, node_ips=("10.43.0.7",), known_servers=known, in_cluster=True)
    config = make_config(Role.AGENT, values)
    assert make_plan(Role.AGENT, config, facts, NEW).warnings == ()
    told = config.with_cluster(
        {"service-cidr": ("10.43.0.0/16",), "cluster-cidr": ("10.42.0.0/16",)}, "servers"
    )
    assert [line[:21] for line in make_plan(Role.AGENT, told, facts, NEW).warnings] == [
        "servers: service-cidr"
    ]


NETWORKS = st.builds(
    lambda first, length: str(ipaddress.ip_network((first, length), strict=False)),
    st.integers(1 << 24, 223 << 24),
    st.integers(1, 28),
)


@given(NETWORKS, NETWORKS, st.sampled_from([OLD, NEW]), st.booleans())
def test_a_cluster_that_is_there_is_never_locked_out(
    pods: str, services: str, of: Release, in_cluster: bool
) -> None:
    config = make_config(Role.SERVER, {"cluster-cidr": pods, "service-cidr": services})
    said = [str(error) for error in problems(Node(config, MACHINE, of))]
    try:
        warnings = check(Node(config, replace(MACHINE, in_cluster=in_cluster), of))
    except ConfigurationError as error:
        assert not in_cluster
        assert [str(each) for each in error.each()] == said
    else:
        assert len(warnings) == len(said) and (in_cluster or not said)
    overlap = ipaddress.ip_network(pods).overlaps(ipaddress.ip_network(services))
    assert any("overlap" in line for line in said) == overlap
    assert derived.cluster_cidrs(config) == (pods,)
