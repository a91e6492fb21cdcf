"""Kernel modules and settings that RKE2 makes sure of, since it tells kube-proxy to leave them alone."""

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.model import File, NodeFacts

MODULES_FILE = "/etc/modules-load.d/rke2-units.conf"
SYSCTL_FILE = "/etc/sysctl.d/90-rke2-units.conf"
MODULES = ("overlay", "nf_conntrack", "br_netfilter", "iptable_nat")
# Only where the cluster has IPv6: a machine that forwards it takes no routes from router advertisements.
_IPV6_MODULES = ("ip6table_nat",)
_IPV6 = {
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.default.forwarding": 1,
    "net.bridge.bridge-nf-call-ip6tables": 1,
}

# kube-proxy's own defaults.
_CONNTRACK_PER_CPU = 32768
_CONNTRACK_AT_LEAST = 131072


def settings(config: Config, facts: NodeFacts) -> dict[str, int]:
    """Kernel settings by name."""
    return {
        "net.ipv4.conf.all.forwarding": 1,
        "net.ipv4.conf.default.forwarding": 1,
        "net.bridge.bridge-nf-call-iptables": 1,
        **(_IPV6 if _has_ipv6(config, facts) else {}),
        "net.netfilter.nf_conntrack_max": max(_CONNTRACK_PER_CPU * facts.cpus, _CONNTRACK_AT_LEAST),
        "net.netfilter.nf_conntrack_tcp_timeout_established": 86400,
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": 3600,
    }


def files(config: Config, facts: NodeFacts) -> list[File]:
    """Files for systemd-modules-load(8) and sysctl.d(5)."""
    # A leading "-": on a machine without IPv6, or in a container, some are not there or not ours to set.
    lines = [f"-{name} = {value}\n" for name, value in settings(config, facts).items()]
    modules = (*MODULES, *(_IPV6_MODULES if _has_ipv6(config, facts) else ()))
    return [
        File(MODULES_FILE, "".join(f"{module}\n" for module in modules)),
        File(SYSCTL_FILE, "".join(lines)),
    ]


def _has_ipv6(config: Config, facts: NodeFacts) -> bool:
    ranges = (*derived.cluster_cidrs(config, facts), *derived.service_cidrs(config, facts))
    return any(grammar.network(text).version == 6 for text in ranges)
