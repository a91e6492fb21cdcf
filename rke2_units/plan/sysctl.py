"""Kernel modules and settings that RKE2 sets itself, because it tells kube-proxy not to."""

import re

from rke2_units.config import arguments, grammar
from rke2_units.config.config import Config
from rke2_units.model import File, KernelParameter
from rke2_units.plan.node import Node

MODULES_FILE = "/etc/modules-load.d/rke2-units.conf"
SYSCTL_FILE = "/etc/sysctl.d/90-rke2-units.conf"
_MODULES = ("overlay", "nf_conntrack", "iptable_nat")
_IPV4 = {"net.ipv4.conf.all.forwarding": 1, "net.ipv4.conf.default.forwarding": 1}
# Only where the cluster has IPv6: a machine that forwards it takes no routes from router advertisements.
_IPV6_MODULES = ("ip6table_nat",)
_IPV6 = {"net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.default.forwarding": 1}
# Only where kube-proxy runs: bridged packets then pass its rules. Loading the module alone enables that,
# also for the bridges of virtual machines.
_BRIDGE_MODULES = ("br_netfilter",)
_BRIDGE_IPV4 = {"net.bridge.bridge-nf-call-iptables": 1}
_BRIDGE_IPV6 = {"net.bridge.bridge-nf-call-ip6tables": 1}

# kube-proxy's own defaults.
_CONNTRACK_PER_CPU = 32768
_CONNTRACK_AT_LEAST = 131072
_ESTABLISHED, _CLOSE_WAIT = 86400, 3600
# The kernel's (nf_conntrack_proto_tcp.c).
_KERNELS_ESTABLISHED, _KERNELS_CLOSE_WAIT = 432000, 60


def settings(node: Node) -> dict[str, int]:
    """The kernel settings that a node cannot do without, by name."""
    found = dict(_IPV4)
    if _has_ipv6(node):
        found |= _IPV6
    if _has_kube_proxy(node.config):
        found |= _BRIDGE_IPV4 | (_BRIDGE_IPV6 if _has_ipv6(node) else {})
    return found


def conntrack(node: Node) -> tuple[KernelParameter, ...]:
    """The parameters of the connection table that kube-proxy would set, except those in kube-proxy-arg.

    They are not in a file: it would override an administrator's file at each boot, or be applied before the
    kernel's own value for a machine of this size is known.
    """
    given = arguments.merge_values({}, node.config.items("kube-proxy-arg"))
    at_least = given.get("conntrack-min", [""])[-1]
    prefix = "net.netfilter.nf_conntrack_"
    found = {
        # kube-proxy does not look at conntrack-min without this one.
        "conntrack-max-per-core": KernelParameter(
            f"{prefix}max", max(_CONNTRACK_PER_CPU * node.facts.cpus, _minimum(at_least))
        ),
        "conntrack-tcp-timeout-established": KernelParameter(
            f"{prefix}tcp_timeout_established", _ESTABLISHED, _KERNELS_ESTABLISHED
        ),
        "conntrack-tcp-timeout-close-wait": KernelParameter(
            f"{prefix}tcp_timeout_close_wait", _CLOSE_WAIT, _KERNELS_CLOSE_WAIT
        ),
    }
    return tuple(parameter for argument, parameter in found.items() if argument not in given)


def modules(config: Config) -> tuple[str, ...]:
    """The modules that every node of this configuration needs, whatever its cluster's addresses."""
    return (*_MODULES, *(_BRIDGE_MODULES if _has_kube_proxy(config) else ()))


def all_modules(node: Node) -> tuple[str, ...]:
    """The modules that this node needs."""
    return (*modules(node.config), *(_IPV6_MODULES if _has_ipv6(node) else ()))


def files(node: Node) -> list[File]:
    """Files for systemd-modules-load(8) and sysctl.d(5)."""
    # A leading "-": on a machine without IPv6, or in a container, some are not there or not ours to set.
    lines = [f"-{name} = {value}\n" for name, value in settings(node).items()]
    return [
        File(MODULES_FILE, "".join(f"{module}\n" for module in all_modules(node))),
        File(SYSCTL_FILE, "".join(lines)),
    ]


def _has_kube_proxy(config: Config) -> bool:
    return not config.boolean("disable-kube-proxy")


def _has_ipv6(node: Node) -> bool:
    ranges = (*node.cluster_cidrs, *node.service_cidrs)
    return any(grammar.network(text).version == 6 for text in ranges)


def _minimum(text: str) -> int:
    # Whatever is no number, or none of Go's int32, is kube-proxy's to refuse.
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else _CONNTRACK_AT_LEAST
