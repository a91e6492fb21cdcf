"""Which program makes cgroups for pods; containerd and the kubelet have to agree on it."""

from rke2_units.plan.node import Node


def systemd_driver(node: Node) -> bool:
    """Whether systemd does (RKE2's rule; it always starts us, which is RKE2's third condition)."""
    return node.facts.cpuset_usable and not node.facts.in_user_namespace
