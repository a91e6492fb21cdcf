"""A node's containerd and kubelet, started by hand: with the command lines of the product's units."""

from tests.node.helpers import product
from tests.nodes.machine import Node

_CONTAINERD, _KUBELET = "floor-containerd", "floor-kubelet"


def start_containerd(node: Node) -> None:
    """Start it, and wait until it answers."""
    _start(node, _CONTAINERD, product.CONTAINERD)
    node.wait_for("containerd", lambda: node.ctr("version", check=False).returncode == 0, timeout=30)


def start_kubelet(node: Node) -> None:
    _start(node, _KUBELET, product.KUBELET)


def stop(node: Node) -> None:
    """End both; containers go on. Nothing happens when they do not run."""
    node.sh(
        f"systemctl stop {_KUBELET} {_CONTAINERD} 2>/dev/null; systemctl reset-failed 2>/dev/null",
        check=False,
    )


def _start(node: Node, name: str, unit: str) -> None:
    # The kubelet's path is that of both.
    path = _unit_value(node, product.KUBELET, "Environment", "PATH=")
    run = ["systemd-run", "--quiet", "--property=Delegate=yes", "--property=KillMode=process"]
    command = _unit_value(node, unit, "ExecStart", "/").split()
    node.run(*run, f"--setenv={path}", f"--unit={name}", *command)


def _unit_value(node: Node, unit: str, key: str, prefix: str) -> str:
    """A line of a rendered unit, its continuations joined."""
    text = node.read(f"/usr/local/lib/systemd/system/{unit}").replace("\\\n", " ")
    return next(line for line in text.splitlines() if line.startswith(f"{key}={prefix}")).partition("=")[2]
