"""The ranges of pods and services: what kube-apiserver, kube-controller-manager and the network cannot do.

A cluster keeps the ranges that it was made with. So each of these is an error for a new cluster and no more
than a warning for one that is there already, whatever made it run.
"""

import ipaddress
from collections.abc import Iterator

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.errors import ConfigurationError
from rke2_units.plan.node import Node
from rke2_units.release import features
from rke2_units.unit_names import Role

# kube-controller-manager's defaults for the part of a node (node-cidr-mask-size-ipv4, -ipv6).
_NODE_MASKS = {4: 24, 6: 64}
# Its bitmap of nodes' parts has room for 2^16 of them; of IPv4 ones there are no more.
_NODE_BITS = 16
_OTHER_NAMES_OF_NODE_IPAM = ("-nodeipam", "-node-ipam-controller")
_COREDNS = "rke2-coredns"


def problems(node: Node) -> list[ConfigurationError]:
    """All that is wrong with the ranges, each with its key and line. Only a server chooses them."""
    found = list(_nodes(node))
    if node.role is Role.SERVER:
        found += [*_overlaps(node), *_sizes_of_services(node), *_sizes_of_pods(node), *_dns(node)]
    return found


def of_machines_apart(node: Node) -> list[tuple[str, int, grammar.Network]]:
    """The ranges that no machine may have an address in: key, index and range of each.

    The pods' ranges are left out where pods may have addresses of the machines' network: with the user's
    own plugin, or where nodes get no part of the range. An agent does not know the cluster's ranges: its
    defaults are left out.
    """
    config = node.config
    ranges = {"service-cidr": node.service_cidrs}
    if config.role is Role.AGENT and not config.is_set("service-cidr"):
        return []
    if config.role is Role.SERVER and derived.cni(config) and _hands_out_parts(config):
        ranges["cluster-cidr"] = node.cluster_cidrs
    return [
        (name, index, network)
        for name, texts in ranges.items()
        for index, network in enumerate(_networks(texts))
    ]


def _overlaps(node: Node) -> Iterator[ConfigurationError]:
    for cluster in _networks(node.cluster_cidrs):
        for service in _networks(node.service_cidrs):
            if cluster.version == service.version and cluster.overlaps(service):
                name = "service-cidr" if node.config.is_set("service-cidr") else "cluster-cidr"
                yield node.config.error(
                    name,
                    f"must not overlap: pods are in {cluster}, services in {service}",
                    hint="take others; a cluster that has them keeps them (etcd has data, or server is set)",
                )


def _sizes_of_services(node: Node) -> Iterator[ConfigurationError]:
    config, release = node.config, node.release
    for index, network in enumerate(_networks(node.service_cidrs)):
        bits = features.service_range_bits(release, network.version)
        if "MultiCIDRServiceAllocator=true" in "".join(config.items("kube-apiserver-arg")):
            bits = network.max_prefixlen
        longest = network.max_prefixlen - bits
        if network.prefixlen < longest:
            yield error_of_range(
                config,
                "service-cidr",
                f"must be /{longest} or smaller, the limit of kube-apiserver of {release.name}, "
                f"got {network}",
                index,
            )


def _sizes_of_pods(node: Node) -> Iterator[ConfigurationError]:
    config = node.config
    if not _hands_out_parts(config):
        return
    networks = _networks(node.cluster_cidrs)
    for index, network in enumerate(networks):
        key = "node-cidr-mask-size" + (f"-ipv{network.version}" if len(networks) > 1 else "")
        mask = _node_mask(config, network.version, key)
        if mask is None:
            continue
        if network.prefixlen > mask:
            yield error_of_range(
                config,
                "cluster-cidr",
                f"must be /{mask} or larger, as each node gets a /{mask} of it, got {network}",
                index,
                hint=f"take a larger one, or set kube-controller-manager-arg: {key}=",
            )
        elif network.version == 6 and mask - network.prefixlen > _NODE_BITS:
            yield error_of_range(
                config,
                "cluster-cidr",
                f"must be /{mask - _NODE_BITS} or smaller, as each node gets a /{mask} of it, got {network}",
                index,
                hint=f"take a smaller one, or set kube-controller-manager-arg: {key}=",
            )


def _nodes(node: Node) -> Iterator[ConfigurationError]:
    for name, index, network in of_machines_apart(node):
        for text in derived.node_ips(node.config, node.facts):
            if grammar.address(text) in network:
                yield error_of_range(
                    node.config,
                    name,
                    f"must not hold the address of this node, {text}, got {network}",
                    index,
                    hint="take a range that no machine has an address in",
                )


def _dns(node: Node) -> Iterator[ConfigurationError]:
    config = node.config
    if _COREDNS in config.items("disable"):
        # The user's own, wherever that is.
        return
    networks = _networks(node.service_cidrs)
    taken = {derived.first_service_ip(config, node.facts): "the service kubernetes has it"}
    for network in networks:
        taken[str(network[0])] = f"it is {network}'s own"
        if network.version == 4:
            taken[str(network[-1])] = f"it is {network}'s broadcast address"
    for index, text in enumerate(node.cluster_dns):
        why = taken.get(text)
        if not any(grammar.address(text) in network for network in networks):
            why = f"it is not in {', '.join(map(str, networks))}"
        if why:
            yield error_of_range(
                config, "cluster-dns", f"must be an address for a service, but {text} is not: {why}", index
            )


def _networks(texts: tuple[str, ...]) -> list[grammar.Network]:
    return [ipaddress.ip_network(text) for text in texts]


def error_of_range(
    config: Config, name: str, problem: str, index: int, hint: str | None = None
) -> ConfigurationError:
    """About the item `index` of a key, or about its default."""
    return config.error(name, problem, index=index if config.is_set(name) else -1, hint=hint)


def _manager(config: Config, flag: str) -> str:
    """What the user gives kube-controller-manager for a flag; "" for nothing."""
    given = dict(grammar.argument(item) for item in config.items("kube-controller-manager-arg"))
    return given.get(flag, "")


def _hands_out_parts(config: Config) -> bool:
    """Whether kube-controller-manager gives each node its part of the ranges of pods."""
    controllers = _manager(config, "controllers").split(",")
    return _manager(config, "allocate-node-cidrs") != "false" and not any(
        name in controllers for name in _OTHER_NAMES_OF_NODE_IPAM
    )


def _node_mask(config: Config, version: int, key: str) -> int | None:
    """The size of a node's part; None for what kube-controller-manager has to judge itself."""
    text = _manager(config, key) or _manager(config, f"node-cidr-mask-size-ipv{version}")
    try:
        return grammar.number(text) if text else _NODE_MASKS[version]
    except ValueError:
        return None
