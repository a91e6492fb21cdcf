"""The nodes' network: one bridge in a network namespace of its own; the host's network is not touched.

The bridge's namespace is every node's gateway. It takes every address of the world for its own and refuses
each connection and query at once: with a default route into a void, kubelet 1.20 waits 10 to 18 s for cloud
metadata services and name servers. (ICMP "unreachable" would be answered by a retry after a second.)
"""

import subprocess

from tests.nodes import registry
from tests.nodes.cache import locked
from tests.nodes.debian import command

NAMESPACE = "rke2-units-tests"
GATEWAY = "10.199.0.1"
_BRIDGE = "nodes0"
# As systemd-nspawn names a container's interface.
_INTERFACE = "host0"


def address(index: int) -> str:
    """The address of the node with this index."""
    return f"10.199.0.{index + 1}"


def port_of(index: int) -> str:
    """The interface of the bridge that leads to the node with this index."""
    return f"node{index}"


def namespace_of(name: str) -> str:
    """The network namespace of a node that is a container."""
    return f"rke2-node-{name}"


def attach(name: str, index: int) -> None:
    """Make a fresh network namespace for a container, with an address and a default route."""
    _have_bridge()
    detach(name, index)
    node, port = namespace_of(name), port_of(index)
    command("ip", "netns", "add", node)
    _ip(NAMESPACE, "link", "add", port, "type", "veth", "peer", "name", _INTERFACE, "netns", node)
    _ip(NAMESPACE, "link", "set", port, "master", _BRIDGE, "up")
    _ip(node, "link", "set", "lo", "up")
    _ip(node, "address", "add", f"{address(index)}/24", "dev", _INTERFACE)
    _ip(node, "link", "set", _INTERFACE, "up")
    _ip(node, "route", "add", "default", "via", GATEWAY)


def attach_tap(index: int) -> None:
    """Make a tap device for a virtual machine, which gives itself its address."""
    _have_bridge()
    port = port_of(index)
    subprocess.run(["ip", "-n", NAMESPACE, "link", "delete", port], capture_output=True)
    _ip(NAMESPACE, "tuntap", "add", "dev", port, "mode", "tap")
    _ip(NAMESPACE, "link", "set", port, "master", _BRIDGE, "up")


def detach(name: str, index: int) -> None:
    """Remove the node's network namespace and its port at the bridge."""
    namespaces = _namespaces()
    if NAMESPACE in namespaces:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "delete", port_of(index)], capture_output=True)
    if namespace_of(name) in namespaces:
        command("ip", "netns", "delete", namespace_of(name))


def unplug(index: int) -> None:
    """Take a node's port off the bridge: the node's interface is up and leads nowhere."""
    _ip(NAMESPACE, "link", "set", port_of(index), "nomaster")


def plug_in(index: int) -> None:
    """Put a node's port at the bridge again."""
    _ip(NAMESPACE, "link", "set", port_of(index), "master", _BRIDGE)


def remove_unused() -> None:
    """Remove the bridge when no node is left."""
    with locked(registry.LOCK):
        if not registry.everything() and NAMESPACE in _namespaces():
            command("ip", "netns", "delete", NAMESPACE)


def _have_bridge() -> None:
    with locked(registry.LOCK):
        if NAMESPACE not in _namespaces():
            _make_bridge()


def _make_bridge() -> None:
    command("ip", "netns", "add", NAMESPACE)
    rate_limit = "/proc/sys/net/ipv4/icmp_ratelimit"
    command("ip", "netns", "exec", NAMESPACE, "sh", "-c", f"echo 0 >{rate_limit}")
    _ip(NAMESPACE, "link", "set", "lo", "up")
    _ip(NAMESPACE, "link", "add", _BRIDGE, "type", "bridge")
    _ip(NAMESPACE, "address", "add", f"{GATEWAY}/24", "dev", _BRIDGE)
    _ip(NAMESPACE, "link", "set", _BRIDGE, "up")
    _ip(NAMESPACE, "route", "add", "local", "default", "dev", "lo")


def _namespaces() -> set[str]:
    return {line.split()[0] for line in command("ip", "netns", "list").splitlines()}


def _ip(namespace: str, *arguments: str) -> None:
    command("ip", "-n", namespace, *arguments)
