"""The annotations of a node's Node object, for RKE2's cloud-controller-manager and for people."""

from rke2_units.config import derived
from rke2_units.plan import addresses
from rke2_units.plan.node import Node


def plan_annotations(node: Node) -> dict[str, str]:
    """RKE2's annotations; without the first two the cloud-controller-manager leaves a node's taint on it."""
    found = {
        "rke2.io/hostname": node.name,
        "rke2.io/internal-ip": ",".join(addresses.node_ips(node)),
        "rke2.io/external-ip": ",".join(derived.node_external_ips(node.config)),
        "rke2.io/internal-dns": ",".join(node.config.items("node-internal-dns")),
        "rke2.io/external-dns": ",".join(node.config.items("node-external-dns")),
    }
    return {name: value for name, value in found.items() if value}
