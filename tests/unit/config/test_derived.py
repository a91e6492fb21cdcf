"""What follows from the settings."""

from dataclasses import replace

import pytest

from rke2_units.config import derived
from rke2_units.config.grammar import Mount
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.model import NodeFacts
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

FACTS = NodeFacts(hostname="Node1", node_ips=("10.0.0.5",))
FACTS_6 = replace(FACTS, node_ips=("fd12::5",))


def message(values: dict[str, object], role: Role = Role.SERVER) -> str:
    with pytest.raises(ConfigurationError) as error:
        make_config(role, values)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "facts", "clusters", "services", "dns", "first"),
    [
        ({}, FACTS, ("10.42.0.0/16",), ("10.43.0.0/16",), ("10.43.0.10",), "10.43.0.1"),
        ({}, None, ("10.42.0.0/16",), ("10.43.0.0/16",), ("10.43.0.10",), "10.43.0.1"),
        ({}, FACTS_6, ("fd00:42::/56",), ("fd00:43::/112",), ("fd00:43::a",), "fd00:43::1"),
        (
            {"node-ip": "fd12::1"},
            FACTS,
            ("fd00:42::/56",),
            ("fd00:43::/112",),
            ("fd00:43::a",),
            "fd00:43::1",
        ),
        (
            {"cluster-cidr": "10.1.0.0/16,fd01::/56", "service-cidr": ["10.2.0.0/16", "fd02::/112"]},
            FACTS,
            ("10.1.0.0/16", "fd01::/56"),
            ("10.2.0.0/16", "fd02::/112"),
            ("10.2.0.10", "fd02::a"),
            "10.2.0.1",
        ),
        (
            {"cluster-cidr": "10.1.2.3/16", "cluster-dns": "169.254.20.10"},
            FACTS_6,
            ("10.1.0.0/16",),
            ("10.43.0.0/16",),
            ("169.254.20.10",),
            "10.43.0.1",
        ),
    ],
)
def test_ranges_and_addresses_of_services(
    values: dict[str, object],
    facts: NodeFacts | None,
    clusters: tuple[str, ...],
    services: tuple[str, ...],
    dns: tuple[str, ...],
    first: str,
) -> None:
    config = make_config(Role.SERVER, values)
    assert derived.cluster_cidrs(config, facts) == clusters
    assert derived.service_cidrs(config, facts) == services
    assert derived.cluster_dns(config, facts) == dns
    assert derived.first_service_ip(config, facts) == first


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"cluster-cidr": "10.0.0.0"},
            "cluster-cidr must be an address range such as 10.42.0.0/16, got '10.0.0.0'",
        ),
        (
            {"cluster-cidr": "10.0.0.0/16,10.1.0.0/16"},
            "cluster-cidr must be one range, or one IPv4 and one IPv6 range",
        ),
        (
            {"cluster-cidr": "10.0.0.0/16", "service-cidr": "fd00::/112"},
            "service-cidr must be of the same address families as cluster-cidr",
        ),
        ({"service-cidr": "10.9.0.0/29"}, "service-cidr must hold more than 10 addresses, got 10.9.0.0/29"),
        (
            {"cluster-dns": "10.43.0.2,10.43.0.3"},
            "cluster-dns must be one address, or one IPv4 and one IPv6 address",
        ),
        (
            {"node-ip": ["10.0.0.1", "10.0.0.2"]},
            "node-ip must be one address, or one IPv4 and one IPv6 address",
        ),
        *(
            ({name: text}, f"{name} must be an address that other machines reach, got {text!r}")
            for name in ("node-ip", "advertise-address")
            for text in ("127.0.0.1", "fe80::1", "169.254.10.1", "::", "224.0.0.1")
        ),
        *(
            (
                {name: "::ffff:10.0.0.5"},
                f"{name} must be an IP address, an IPv4 one without ::ffff: in front, got '::ffff:10.0.0.5'",
            )
            for name in ("node-ip", "node-external-ip", "advertise-address", "cluster-dns", "bind-address")
        ),
        (
            {"cni": ["none", "canal"]},
            "cni must be none or one network plugin, with multus in front of it or not",
        ),
        ({"cni": "multus"}, "cni must be none or one network plugin, with multus in front of it or not"),
        (
            {"cni": "none,multus"},
            "cni must be none or one network plugin, with multus in front of it or not",
        ),
        (
            {"cni": "multus,none,canal"},
            "cni must be none or one network plugin, with multus in front of it or not",
        ),
        (
            {"ingress-controller": "none,traefik"},
            "ingress-controller must be none, or each of traefik and ingress-nginx at most once",
        ),
        ({"cloud-provider-config": "/a"}, "cloud-provider-config needs cloud-provider-name"),
        (
            {"cloud-provider-name": "external", "node-external-ip": "10.0.0.1"},
            "node-external-ip cannot be used together with cloud-provider-name",
        ),
        (
            {"profile": "cis", "protect-kernel-defaults": False},
            "protect-kernel-defaults must not be false with profile cis",
        ),
        (
            {
                "control-plane-resource-requests": "etcd-cpu=2",
                "control-plane-resource-limits": ["etcd-memory=1Gi", "etcd-cpu=500m"],
            },
            "control-plane-resource-limits must not be below the requests: etcd-cpu has a limit of 500m and "
            "a request of 2 (control-plane-resource-requests: etcd-cpu=500m)",
        ),
        (
            {"control-plane-resource-limits": "kube-apiserver-memory=512Mi"},
            "control-plane-resource-limits must not be below the requests: kube-apiserver-memory has a "
            "limit of 512Mi and a request of 1024Mi "
            "(control-plane-resource-requests: kube-apiserver-memory=512Mi)",
        ),
        (
            {"etcd-extra-mount": ["/a:/c", "/b:/c"]},
            "etcd-extra-mount must mount each destination once, got '/c' twice",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, object], problem: str) -> None:
    assert message(values) == f"test: {problem}"


def test_equal_requests_and_limits_are_fine_however_they_are_written() -> None:
    make_config(
        Role.SERVER,
        {
            "control-plane-resource-requests": "etcd-cpu=0.1",
            "control-plane-resource-limits": "etcd-cpu=100m",
        },
    )


@pytest.mark.parametrize(
    ("values", "node_id", "name"),
    [
        ({}, "", "node1"),
        ({"node-name": "Other.Example"}, "", "other.example"),
        ({"with-node-id": True}, "12ab34cd", "node1-12ab34cd"),
        ({"node-name": "a"}, "12ab34cd", "a"),
    ],
)
def test_the_nodes_name(values: dict[str, object], node_id: str, name: str) -> None:
    assert (
        derived.node_name(make_config(Role.SERVER, values), NodeFacts("Node1", (), node_id=node_id)) == name
    )


@pytest.mark.parametrize(
    ("values", "hostname", "node_id", "problem"),
    [
        ({}, "a_b", "", "default: node-name is taken from the host name, which must be a DNS name"),
        (
            {"with-node-id": True, "node-name": "a" * 60},
            "a",
            "12ab34cd",
            "test: node-name with the node's id must",
        ),
    ],
)
def test_a_name_that_kubernetes_would_not_take_is_refused(
    values: dict[str, object], hostname: str, node_id: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        derived.node_name(make_config(Role.SERVER, values), NodeFacts(hostname, (), node_id=node_id))
    assert str(error.value).startswith(problem)


def test_names_for_certificates_are_those_of_rke2_each_once() -> None:
    config = make_config(
        Role.SERVER, {"tls-san": ["api.example", "10.0.0.5"], "node-external-ip": "192.0.2.1"}
    )
    assert derived.subject_alternative_names(config, FACTS) == (
        "api.example",
        "10.0.0.5",
        "127.0.0.1",
        "::1",
        "localhost",
        "node1",
        "192.0.2.1",
        "10.43.0.1",
    )


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({}, "10.0.0.5"),
        ({"node-ip": "10.0.0.6"}, "10.0.0.6"),
        ({"node-external-ip": "192.0.2.1", "node-ip": "10.0.0.6"}, "192.0.2.1"),
        ({"node-external-ip": "192.0.2.1", "advertise-address": "10.0.0.7"}, "10.0.0.7"),
        (
            {
                "node-ip": ["10.0.0.5", "2001:db8::5"],
                "cluster-cidr": "fd00:42::/56,10.42.0.0/16",
                "service-cidr": "fd00:43::/112,10.43.0.0/16",
            },
            "2001:db8::5",
        ),
    ],
)
def test_the_advertised_address(values: dict[str, object], address: str) -> None:
    assert derived.advertise_address(make_config(Role.SERVER, values), FACTS) == address


def test_a_node_without_any_address_is_an_error() -> None:
    with pytest.raises(UserError, match="set node-ip"):
        derived.advertise_address(make_config(Role.SERVER, {}), replace(FACTS, node_ips=()))


def test_plugins_and_controllers() -> None:
    config = make_config(Role.SERVER, {})
    assert derived.cni(config) == ("canal",)
    assert derived.ingress_controllers(config) == ("traefik",)
    config = make_config(Role.SERVER, {"cni": "none", "ingress-controller": "none"})
    assert derived.cni(config) == derived.ingress_controllers(config) == ()
    assert derived.cni(make_config(Role.SERVER, {"cni": ["multus", "canal"]})) == ("multus", "canal")
    # RKE2's: Multus from the package, the primary plugin is the user's.
    assert derived.cni(make_config(Role.SERVER, {"cni": ["multus", "none"]})) == ("multus",)


@pytest.mark.parametrize(
    ("values", "registry"),
    [
        ({}, ""),
        ({"prime": True}, "registry.rancher.com"),
        ({"prime": True, "system-default-registry": "r.example/x"}, "r.example/x"),
    ],
)
def test_the_default_registry(values: dict[str, object], registry: str) -> None:
    assert derived.default_registry(make_config(Role.SERVER, values)) == registry


def test_settings_of_components_are_given_in_parts() -> None:
    config = make_config(
        Role.SERVER,
        {
            "control-plane-resource-requests": ["etcd-cpu=1,etcd-memory=1Gi", "kube-proxy-cpu=0"],
            "control-plane-resource-limits": "kube-scheduler-memory=1Gi",
            "control-plane-probe-configuration": "etcd-startup-period-seconds=5,"
            "etcd-startup-timeout-seconds=6",
            "etcd-extra-mount": ["/a:/b:ro"],
            "etcd-extra-env": ["A=1", "B=x,y"],
            "node-taint": ["c=d:NoSchedule"],
        },
    )
    requests = derived.resource_requests(config)
    assert requests["etcd"] == {"cpu": "1", "memory": "1Gi"}
    assert requests["kube-proxy"] == {"cpu": "0", "memory": "128Mi"}
    assert requests["kube-scheduler"] == {"cpu": "100m", "memory": "128Mi"}
    assert derived.resource_limits(config) == {"kube-scheduler": {"memory": "1Gi"}}
    assert derived.probe_values(config) == {"etcd": {"startup": {"period-seconds": 5, "timeout-seconds": 6}}}
    assert derived.extra_mounts(config, "etcd") == (Mount("/a", "/b", True, None),)
    assert derived.extra_environment(config, "etcd") == (("A", "1"), ("B", "x,y"))
    assert derived.node_taints(config) == (("c", "d", "NoSchedule"),)


@pytest.mark.parametrize(
    ("key", "component"),
    [
        ("disable-scheduler", "kube-scheduler"),
        ("disable-controller-manager", "kube-controller-manager"),
        ("disable-kube-proxy", "kube-proxy"),
        ("disable-cloud-controller", "cloud-controller-manager"),
    ],
)
def test_a_disabled_component_does_not_run(key: str, component: str) -> None:
    assert derived.runs(make_config(Role.SERVER, {}), component)
    assert not derived.runs(make_config(Role.SERVER, {key: True}), component)


def test_profile_cis_protects_kernel_defaults() -> None:
    assert derived.protect_kernel_defaults(make_config(Role.SERVER, {"profile": "cis"}))
    assert not derived.protect_kernel_defaults(make_config(Role.SERVER, {"profile": "etcd"}))
    assert derived.protect_kernel_defaults(make_config(Role.AGENT, {"protect-kernel-defaults": True}))


def test_values_of_wrong_names_are_a_programming_error() -> None:
    with pytest.raises(KeyError):
        make_config(Role.SERVER, {}).text("nonsense")


_IPV6_FIRST = {
    "cluster-cidr": "2001:cafe:42::/56,10.42.0.0/16",
    "service-cidr": "2001:cafe:43::/112,10.43.0.0/16",
}


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (
            {
                **_IPV6_FIRST,
                "node-ip": "192.0.2.5,2001:db8::5",
                "node-external-ip": "203.0.113.9,2001:db8::9",
            },
            "2001:db8::9",
        ),
        ({"node-ip": "192.0.2.5", "node-external-ip": "2001:db8::9,203.0.113.9"}, "203.0.113.9"),
        ({"node-ip": "192.0.2.5", "node-external-ip": "2001:db8::9"}, "192.0.2.5"),
        ({**_IPV6_FIRST, "node-ip": "2001:db8::5,192.0.2.5"}, "2001:db8::5"),
        ({"node-ip": "192.0.2.5", "advertise-address": "198.51.100.1"}, "198.51.100.1"),
    ],
)
def test_the_advertised_address_is_of_the_family_of_services(
    values: dict[str, object], address: str
) -> None:
    assert derived.advertise_address(make_config(Role.SERVER, values), FACTS) == address


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"node-ip": "192.0.2.5", "advertise-address": "2001:db8::9"},
            "test: advertise-address must be an IPv4 address, like the first range of services "
            "(10.43.0.0/16), got 2001:db8::9",
        ),
        (
            {**_IPV6_FIRST, "node-ip": "192.0.2.5"},
            "test: node-ip must have an IPv6 address, like the first range of services (2001:cafe:43::/112)",
        ),
    ],
)
def test_an_advertised_address_of_the_other_family_is_refused(
    values: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        derived.advertise_address(make_config(Role.SERVER, values), FACTS)
    assert str(error.value) == problem
