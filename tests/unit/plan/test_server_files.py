from dataclasses import replace
from typing import Any

import pytest
import yaml

from rke2_units import layout
from rke2_units.layout import UNIT_DIRECTORY, Paths
from rke2_units.model import File, NodeFacts
from rke2_units.plan import make_plan, server_files, sysctl
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import CONTAINERD_UNIT, Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import MACHINE, make_node

NEW = release(DEFAULT)
OLD = release("v1.20.2+rke2r1")


def files(
    values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = NEW
) -> dict[str, File]:
    found = server_files.files(make_node(values, facts, of))
    assert all(file.mode == 0o600 for file in found)
    return {file.path: file for file in found}


def pod_security(values: dict[str, object]) -> Any:
    document = yaml.safe_load(files(values)[layout.POD_SECURITY_FILE].content)
    assert (document["apiVersion"], document["kind"]) == (
        "apiserver.config.k8s.io/v1",
        "AdmissionConfiguration",
    )
    [plugin] = document["plugins"]
    assert plugin["name"] == "PodSecurity"
    return plugin["configuration"]


@pytest.mark.parametrize("profile", ["", "etcd"])
def test_pods_are_privileged_without_the_cis_profile(profile: str) -> None:
    configuration = pod_security({"profile": profile} if profile else {})
    assert configuration["defaults"] == {"enforce": "privileged", "enforce-version": "latest"}
    assert configuration["exemptions"] == {"usernames": [], "runtimeClasses": [], "namespaces": []}


def test_pods_are_restricted_with_the_cis_profile() -> None:
    configuration = pod_security({"profile": "cis"})
    assert configuration["defaults"] == {
        mode: level
        for name in ("enforce", "audit", "warn")
        for mode, level in ((name, "restricted"), (f"{name}-version", "latest"))
    }
    assert configuration["exemptions"]["namespaces"] == [
        "kube-system",
        "compliance-operator-system",
        "tigera-operator",
    ]


def test_no_pod_security_is_written_for_a_release_without_it_or_in_place_of_the_users() -> None:
    assert layout.POD_SECURITY_FILE not in files(of=OLD)
    assert layout.POD_SECURITY_FILE not in files({"pod-security-admission-config-file": "/etc/mine.yaml"})


def test_connections_go_directly_until_there_are_tunnels() -> None:
    document = yaml.safe_load(files()[Paths().egress_selector].content)
    assert document["kind"] == "EgressSelectorConfiguration"
    assert document["egressSelections"] == [{"name": "cluster", "connection": {"proxyProtocol": "Direct"}}]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"profile": "cis"}, layout.AUDIT_POLICY_FILE),
        ({"audit-policy-file": "/etc/audit.yaml"}, "/etc/audit.yaml"),
    ],
)
def test_an_audit_policy_is_made_where_it_is_missing_and_is_then_the_administrators(
    values: dict[str, object], path: str
) -> None:
    made = files(values)[path]
    assert yaml.safe_load(made.content)["rules"] == [{"level": "None"}]
    assert made.keep
    assert layout.AUDIT_POLICY_FILE not in files()


MAX = "net.netfilter.nf_conntrack_max"
ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
CLOSE_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
TIMEOUTS = {ESTABLISHED: 86400, CLOSE_WAIT: 3600}


@pytest.mark.parametrize(
    ("cpus", "given", "wanted"),
    [
        (2, [], {MAX: 131072, **TIMEOUTS}),
        (64, [], {MAX: 64 * 32768, **TIMEOUTS}),
        (2, ["conntrack-min=1048576"], {MAX: 1048576, **TIMEOUTS}),
        (64, ["--conntrack-min=5"], {MAX: 64 * 32768, **TIMEOUTS}),
        (2, ["conntrack-min=many"], {MAX: 131072, **TIMEOUTS}),
        # kube-proxy sets these itself, or leaves them as they are (0).
        (2, ["conntrack-max-per-core=65536"], TIMEOUTS),
        (2, ["conntrack-max-per-core=0", "conntrack-min=1048576"], TIMEOUTS),
        (2, ["conntrack-tcp-timeout-close-wait=60s"], {MAX: 131072, ESTABLISHED: 86400}),
        (2, ["conntrack-tcp-timeout-established=0"], {MAX: 131072, CLOSE_WAIT: 3600}),
    ],
)
def test_connections_are_tracked_as_kube_proxy_and_its_arguments_have_it(
    cpus: int, given: list[str], wanted: dict[str, int]
) -> None:
    values = {"kube-proxy-arg": given} if given else {}
    found = sysctl.conntrack(make_node(values, replace(MACHINE, cpus=cpus)))
    assert {parameter.name: parameter.value for parameter in found} == wanted


def test_no_file_sets_what_an_administrator_may_have_larger() -> None:
    node = make_node({"kube-proxy-arg": ["conntrack-min=1048576"]})
    assert not any("conntrack_" in file.content for file in sysctl.files(node))


@pytest.mark.parametrize("cidrs", [["10.42.0.0/16"], ["10.42.0.0/16", "fd00:42::/56"]])
def test_bridges_are_left_alone_without_kube_proxy(cidrs: list[str]) -> None:
    values = {"cni": "cilium", "disable-kube-proxy": True, "cluster-cidr": cidrs}
    content = "".join(file.content for file in sysctl.files(make_node(values)))
    assert "bridge" not in content and "br_netfilter" not in content
    assert "nf_conntrack\n" in content and "net.ipv4.conf.all.forwarding = 1" in content


@pytest.mark.parametrize(
    ("cidrs", "forwards"),
    [
        ([], False),
        (["10.42.0.0/16"], False),
        (["10.42.0.0/16", "fd00:42::/56"], True),
        (["fd00:42::/56"], True),
    ],
)
def test_ipv6_is_forwarded_only_where_the_cluster_has_it(cidrs: list[str], forwards: bool) -> None:
    node = make_node({"cluster-cidr": cidrs} if cidrs else {})
    content = {file.path: file.content for file in sysctl.files(node)}
    assert ("net.ipv6.conf.all.forwarding = 1" in content[sysctl.SYSCTL_FILE]) is forwards
    assert ("ip6table_nat" in content[sysctl.MODULES_FILE]) is forwards


def test_every_kernel_setting_is_one_that_may_be_missing() -> None:
    content = {file.path: file.content for file in sysctl.files(make_node())}
    lines = content[sysctl.SYSCTL_FILE].splitlines()
    assert all(line.startswith("-net.") and " = " in line for line in lines)
    assert "br_netfilter" in content[sysctl.MODULES_FILE].splitlines()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"cni": "cilium", "disable-kube-proxy": True},
        {"cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.43.0.0/16,fd00:43::/112"},
    ],
)
def test_containerd_starts_with_the_modules_that_are_loaded_at_boot(values: dict[str, object]) -> None:
    machine = replace(MACHINE, node_ips=("192.0.2.10", "2001:db8::10"))
    plan = make_plan(Role.SERVER, make_config(Role.SERVER, values), machine, NEW)
    modules = " ".join(plan.file(sysctl.MODULES_FILE).content.split())
    unit = plan.file(f"{UNIT_DIRECTORY}/{CONTAINERD_UNIT}").content
    assert f"\nExecStartPre=-/sbin/modprobe --quiet --all {modules}\n" in unit
