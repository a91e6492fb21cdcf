"""The names and addresses that a node may not use, because a server or another node has them. Pure."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rke2_units import cluster_names

_SERVER_LABELS = (cluster_names.CONTROL_PLANE_LABEL, cluster_names.ETCD_LABEL)
# Annotations that only servers' own programs set on servers' nodes: one value, or several with commas.
_SERVER_ANNOTATIONS = (cluster_names.ETCD_ADDRESS_ANNOTATION, "rke2.io/internal-ip", "rke2.io/external-ip")


@dataclass(frozen=True)
class Taken:
    """`servers`: names and addresses of servers. `nodes`: the other nodes, by address."""

    servers: frozenset[str] = frozenset()
    nodes: Mapping[str, frozenset[str]] = field(default_factory=dict)


def taken(api_servers: Iterable[str], nodes: Iterable[Mapping[str, Any]]) -> Taken:
    """Computes them from the addresses of API servers and the cluster's Node objects.

    A server that is down, or runs etcd only, is not an API server, but its Node has a server's label.
    Kubelets cannot set those labels on their nodes (NodeRestriction).
    """
    servers = set(api_servers)
    others: dict[str, set[str]] = {}
    for node in nodes:
        metadata = node["metadata"]
        if any(label in (metadata.get("labels") or {}) for label in _SERVER_LABELS):
            servers |= {metadata["name"], *_addresses(node), *_annotated(metadata)}
            continue
        for address in _addresses(node):
            if is_address(address):
                others.setdefault(address, set()).add(metadata["name"])
    return Taken(frozenset(servers), {address: frozenset(found) for address, found in others.items()})


def _addresses(node: Mapping[str, Any]) -> Iterator[str]:
    """The addresses and names that the node's kubelet reports."""
    for entry in (node.get("status") or {}).get("addresses") or ():
        yield _canonical(str(entry.get("address", "")))


def _annotated(metadata: Mapping[str, Any]) -> Iterator[str]:
    annotations = metadata.get("annotations") or {}
    for name in _SERVER_ANNOTATIONS:
        yield from (_canonical(part.strip()) for part in annotations.get(name, "").split(",") if part)


def is_address(text: str) -> bool:
    """Whether it is an IP address, in whatever spelling."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _canonical(text: str) -> str:
    return str(ipaddress.ip_address(text)) if is_address(text) else text.lower()
