"""The node for which a certificate is requested, from the request's headers. Pure."""

import ipaddress
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from rke2_units.join_api.identity import Caller
from rke2_units.join_api.refusal import Refusal
from rke2_units.join_api.taken import is_address

NAME_HEADER = "rke2-Node-Name"
PASSWORD_HEADER = "rke2-Node-Password"
IP_HEADER = "rke2-Node-IP"

# RFC 1123, which Kubernetes requires of a node's name.
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# The common name system:node:NAME holds 64 characters.
_LONGEST_NAME = 64 - len("system:node:")
_LONGEST_PASSWORD = 512
_MOST_ADDRESSES = 8
# The API's own names, which the certificate of a node must never contain.
_API_NAMES = re.compile(r"localhost|kubernetes(?:\.default(?:\.svc(?:\..*)?)?)?")


@dataclass(frozen=True)
class NodeRequest:
    """A node's own claims: not to be trusted before its password is checked."""

    name: str
    password: str = field(repr=False)
    addresses: tuple[str, ...]


def node_request(headers: Mapping[str, str], caller: Caller) -> NodeRequest:
    """The node in the headers; Refusal if it is invalid, or not the caller's own node."""
    name = headers.get(NAME_HEADER, "")
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise Refusal(400, f"the header {NAME_HEADER} must hold the node's name, a lower-case DNS name")
    if is_address(name):
        # The certificate would contain it as an address.
        _check_address(name)
    if _API_NAMES.fullmatch(name):
        raise Refusal(403, f"{name} is a name of the Kubernetes API and cannot be a node's name")
    if caller.node and caller.node != name:
        raise Refusal(
            403,
            f"node {caller.node} may not request certificates of node {name}",
            failed_login=True,
        )
    password = headers.get(PASSWORD_HEADER, "")
    if not 0 < len(password) <= _LONGEST_PASSWORD or not password.isascii():
        raise Refusal(400, f"the header {PASSWORD_HEADER} must hold the node's password")
    return NodeRequest(name, password, _addresses(headers.get(IP_HEADER, "")))


def check_names(node: NodeRequest, servers: frozenset[str], nodes: Mapping[str, Set[str]]) -> None:
    """Raises Refusal if the certificate would be for a server's name or address, or for another node's.

    The server CA signs for kubelets and for the API: a node must not be able to impersonate a server.
    `nodes`: by address, the nodes that have it. The status is then 409, as the other node may be leaving.
    """
    known = {name.lower().rstrip(".") for name in servers}
    wildcard = f"*.{node.name.partition('.')[2]}"
    taken = sorted(known & {node.name, *node.addresses, *([wildcard] if "." in node.name else [])})
    if taken:
        raise Refusal(403, f"{taken[0]} belongs to a server of this cluster", failed_login=True)
    for address in (node.name, *node.addresses):
        if others := sorted(nodes.get(address, frozenset()) - {node.name}):
            raise Refusal(
                409,
                f"{address} is the address of node {others[0]}, so {node.name} cannot have it;"
                f" if {others[0]} no longer exists: kubectl delete node {others[0]}",
            )


def _addresses(text: str) -> tuple[str, ...]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not is_address(part):
            raise Refusal(400, f"the header {IP_HEADER} must hold addresses")
        found.append(_check_address(part))
    if len(found) > _MOST_ADDRESSES:
        raise Refusal(400, f"the header {IP_HEADER} holds more than {_MOST_ADDRESSES} addresses")
    return tuple(dict.fromkeys(found))


def _check_address(text: str) -> str:
    """The address in canonical form; Refusal if a kubelet would not accept it for its node."""
    address = ipaddress.ip_address(text)
    special = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local
    if special or "%" in text or (address.version == 6 and address.ipv4_mapped):
        raise Refusal(400, f"{text} cannot be a node's address")
    return str(address)
