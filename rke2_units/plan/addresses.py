"""Addresses of this node in the forms that the components take."""

from rke2_units.config import derived, grammar
from rke2_units.errors import UserError
from rke2_units.plan.node import Node

# Every machine's lo has it, also one without any other IPv4 address.
LOOPBACK = "127.0.0.1"


def node_ips(node: Node) -> list[str]:
    """The node's addresses, at most one of each family: the user's, else those of the cluster's families."""
    known = derived.node_ips(node.config, node.facts)
    if node.config.items("node-ip"):
        return list(known)
    families = [grammar.network(text).version for text in node.cluster_cidrs]
    found = [
        next((text for text in known if grammar.address(text).version == family), None)
        for family in families
    ]
    missing = [family for family, text in zip(families, found, strict=True) if text is None]
    if missing:
        # No ConfigurationError, after which nothing is tried again: it may come while a machine boots.
        raise UserError(
            f"node-ip is not set, and the machine has no IPv{missing[0]} address with a default route",
            hint="set node-ip, or add a default route",
        )
    return [text for text in found if text is not None]


def first_family(node: Node) -> int:
    """4 or 6: the family of the node's first address."""
    return grammar.address(node_ips(node)[0]).version


def any_address(node: Node) -> str:
    """What to listen on for all addresses of the node's families."""
    return "::" if first_family(node) == 6 else "0.0.0.0"


def host_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def url(scheme: str, address: str, port: int) -> str:
    return f"{scheme}://{host_port(address, port)}"
