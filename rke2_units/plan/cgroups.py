"""Which program makes cgroups for pods; containerd and the kubelet have to agree on it."""

from rke2_units.model import NodeFacts


def systemd_driver(facts: NodeFacts) -> bool:
    """Whether systemd does (RKE2's rule; it always starts us, which is RKE2's third condition)."""
    return facts.cpuset_usable and not facts.in_user_namespace
