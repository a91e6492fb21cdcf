"""A node's way to what runs on servers alone: haproxy on loopback, to all that there are of it.

An agent has it to every kube-apiserver and every supervisor; a server without kube-apiserver to the former,
and one without etcd to etcd's members: each on the port where a server that has its own finds that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rke2_units import ports
from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import File, ServerList
from rke2_units.plan import addresses
from rke2_units.plan.node import Node
from rke2_units.plan.templates import render
from rke2_units.unit_names import Role


@dataclass(frozen=True)
class Way:
    """A port on loopback and its backends. `path`: their health check over HTTPS; "": a TCP connection."""

    name: str
    port: int
    path: str
    servers: Sequence[str]


def is_needed(config: Config) -> bool:
    """Whether something that this node needs runs on other nodes alone."""
    return config.role is Role.AGENT or derived.server_roles(config).split


def leads_to_apiservers(config: Config) -> bool:
    """Whether this node has no kube-apiserver of its own."""
    return not derived.server_roles(config).control_plane


def credentials(paths: Paths) -> dict[str, str]:
    """The files that systemd hands to the proxy, by name: it asks servers how they are as the kubelet."""
    return {
        "server-ca.crt": f"{paths.agent}/server-ca.crt",
        "client.crt": f"{paths.agent}/client-kubelet.crt",
        "client.key": f"{paths.agent}/client-kubelet.key",
    }


def apiserver_url(config: Config) -> str:
    """The way to the API servers of a node without its own, for everything of the node."""
    return addresses.url("https", addresses.LOOPBACK, derived.apiserver_proxy_port(config))


def text(node: Node, known: ServerList) -> str:
    """The proxy's configuration, with the servers that are known.

    It holds no secret, and is read by a user of its own: mode 0644.
    """
    has_ipv6 = any(grammar.address(ip).version == 6 for ip in derived.node_ips(node.config, node.facts))
    return render(
        "haproxy.cfg",
        loopback=[addresses.LOOPBACK, *(["[::1]"] if has_ipv6 else [])],
        ways=_ways(node.config, known),
    )


def file(node: Node, known: ServerList) -> File:
    """The configuration; a change is a reload, not a restart."""
    return File(node.paths.api_proxy_config, text(node, known))


def _ways(config: Config, known: ServerList) -> list[Way]:
    ways = []
    if leads_to_apiservers(config):
        ways.append(Way("apiservers", derived.apiserver_proxy_port(config), "/readyz", known.apiservers))
    if config.role is Role.AGENT:
        port = derived.supervisor_proxy_port(config)
        ways.append(Way("supervisors", port, "/v1-rke2/readyz", known.servers))
    elif not derived.server_roles(config).etcd:
        # What would tell more of a member listens on its own loopback alone.
        ways.append(Way("etcd", ports.ETCD_CLIENT_PORT, "", known.members))
    return ways
