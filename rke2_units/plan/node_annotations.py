"""What a node tells of itself on its Node object, for RKE2's cloud-controller-manager and for people."""

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import NodeFacts
from rke2_units.plan import addresses


def annotations(config: Config, facts: NodeFacts) -> dict[str, str]:
    """RKE2's annotations; without the first two the cloud-controller-manager leaves a node's taint on it."""
    found = {
        "rke2.io/hostname": derived.node_name(config, facts),
        "rke2.io/internal-ip": ",".join(addresses.node_ips(config, facts)),
        "rke2.io/external-ip": ",".join(derived.node_external_ips(config)),
        "rke2.io/internal-dns": ",".join(config.items("node-internal-dns")),
        "rke2.io/external-dns": ",".join(config.items("node-external-dns")),
    }
    return {name: value for name, value in found.items() if value}
