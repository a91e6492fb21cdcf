"""What the tests do with the product on a node, in the words of its users."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import plain_nodes
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node
from tests.package import build_deb

SERVER = "rke2-server.service"
CONTAINERD = "rke2-containerd.service"
KUBELET = "rke2-kubelet.service"
COMPONENTS = plain_nodes.SERVER.components
CONFIG = "/etc/rancher/rke2/config.yaml"
# The harness gives the node its network, until there are charts.
PLAIN_CONFIG = "cni: none\n"
# kube-apiserver's probes start a kubectl in its container three times in ten seconds: a tenth of a processor
# for each server.
BASIC_CONFIG = (
    f"{PLAIN_CONFIG}control-plane-probe-configuration: [kube-apiserver-readiness-period-seconds=30,"
    " kube-apiserver-liveness-period-seconds=30]\n"
)
# Seconds until a test gives up waiting for a whole node. Not a bound: those of the contract stand where they
# are asserted, in tests that have the machine for themselves.
PATIENCE = 300.0
# Higher than that of the package that a node was installed with.
NEXT_VERSION = "99.1"
UNITS = plain_nodes.started_units(plain_nodes.SERVER)


def pod_unit(component: str) -> str:
    return f"rke2-static-pod@{component}.service"


def install(
    node: Node,
    deb: Path,
    release: str,
    config: str = BASIC_CONFIG,
    *,
    role: str = "server",
    options: Sequence[str] = (),
) -> None:
    """As an administrator does: the package, the configuration, the role. Nothing is started.

    `options` are further words for `rke2-units install`.
    """
    node.copy_in(deb, "/root/rke2-units.deb")
    node.run("apt-get", "install", "--yes", "-qq", "/root/rke2-units.deb", timeout=300)
    node.run("mkdir", "-p", "/etc/rancher/rke2")
    node.write(CONFIG, config)
    node.run("rke2-units", "install", "--role", role, "--release", release, *options)


def upgrade(node: Node) -> None:
    """What apt does when there is a newer package."""
    node.copy_in(build_deb(node.suite, NEXT_VERSION), "/root/next.deb")
    node.run("apt-get", "install", "--yes", "-qq", "--reinstall", "/root/next.deb", timeout=300)


def start(node: Node, timeout: float = PATIENCE) -> float:
    """systemctl start; returns the seconds it took. One that fails shows what the daemon said last."""
    began = time.monotonic()
    try:
        node.run("systemctl", "start", "rke2-server", timeout=timeout)
    except NodeError as error:
        # A node that a fixture makes is gone when the test reports.
        raise NodeError(f"{error}\n{node.journal(SERVER, lines=25)}") from error
    return time.monotonic() - began


def state(node: Node, unit: str) -> str:
    return states(node, unit)[0]


def states(node: Node, *units: str) -> list[str]:
    """Whether each of these units is active, in one call: tests ask for it all the time."""
    return node.systemctl("show", "--property=ActiveState", "--value", *units).stdout.split()


def status_text(node: Node) -> str:
    """What `systemctl status rke2-server` shows behind "Status:"."""
    return node.systemctl("show", "--property=StatusText", "--value", SERVER).stdout.rstrip("\n")


def is_running(node: Node) -> bool:
    """The daemon is up, every unit is, and the daemon has nothing to complain of."""
    return set(states(node, SERVER, *UNITS)) == {"active"} and status_text(node) == "running"


def wait_until_running(node: Node, timeout: float = PATIENCE) -> float:
    """Seconds until is_running; fails after `timeout`."""
    began = time.monotonic()
    node.wait_for(
        "rke2-server and all its units to run", lambda: is_running(node), timeout=timeout, interval=0.1
    )
    return time.monotonic() - began


def wait_for_another_process(node: Node, unit: str, pid: int, timeout: float) -> None:
    """Wait until the unit has a main process, and another one than it had."""
    node.wait_for(
        f"{unit} to have another process",
        lambda: node.main_pid(unit) not in (0, pid),
        timeout=timeout,
        interval=0.1,
    )


@contextmanager
def containers_live_on(node: Node) -> Iterator[None]:
    """All containers of all pods, by ID and PID, are the same after as before."""
    before = main_processes(node)
    assert before, "there are no containers whose survival could be seen"
    called = {key: f"{each.name or 'sandbox'} of {each.pod}" for key, each in node.containers().items()}
    yield
    after = main_processes(node)
    ended = [called.get(key, key) for key, process in before.items() if after.get(key) != process]
    assert after == before, f"ended: {', '.join(ended)}"


def main_processes(node: Node) -> dict[str, int]:
    """The first process of each container, sandboxes included, by ID; probes that run in it come later.

    From the kernel, as it has to be told while containerd is down.
    """
    return {key: min(pids) for key, pids in node.container_processes().items()}


def pods_of(node: Node) -> dict[str, str]:
    """The pods that run on the node, as containerd has them: name -> ID of the sandbox."""
    return {
        container.pod: key
        for key, container in node.containers().items()
        if not container.name and container.pid
    }
