"""L12 and L13: what a change of the configuration and a drop-in touch, and what they leave."""

from collections.abc import Iterator

import pytest

from tests.node.helpers import product
from tests.node.helpers.product import BASIC_CONFIG, CONFIG, CONTAINERD, KUBELET, containers_live_on
from tests.nodes.machine import Node


@pytest.fixture
def configurable(server: Node) -> Iterator[Node]:
    """The server; in the end it has its own configuration again."""
    # Kubernetes 1.20's kubelet replaces no pod before it has found its Node.
    server.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s", timeout=130)
    yield server
    server.write(CONFIG, BASIC_CONFIG)
    server.systemctl("restart", "rke2-server")
    product.wait_until_running(server)


def change(node: Node, config: str) -> set[str]:
    """Write the configuration and restart rke2-server; which components were replaced, made or removed."""
    before = _running(node)
    node.write(CONFIG, BASIC_CONFIG + config)
    node.systemctl("restart", "rke2-server")
    # What READY promises holds at once.
    assert node.kubectl("get", "--raw=/readyz").stdout == "ok"
    node.wait_for("the node to run", lambda: product.status_text(node) == "running", timeout=120)
    after = _running(node)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _running(node: Node) -> dict[str, str]:
    """The main process of containerd and the kubelet, and the sandbox of each static pod, by component."""
    processes = {
        name: str(node.main_pid(unit)) for name, unit in (("containerd", CONTAINERD), ("kubelet", KUBELET))
    }
    pods = {pod.removesuffix(f"-{node.name}"): key for pod, key in product.pods_of(node).items()}
    return processes | pods


@pytest.mark.contract("L12")
def test_a_changed_configuration_replaces_what_it_touches_and_nothing_else(configurable: Node) -> None:
    node = configurable
    config = ""
    assert change(node, config) == set()
    for line, touched in (
        ("kube-scheduler-arg: [v=3]", {"kube-scheduler"}),
        ("kubelet-arg: [max-pods=99]", {"kubelet"}),
        ("write-kubeconfig-mode: '0640'", set()),
        ("nonroot-devices: true", {"containerd", "kubelet"}),
        ("kube-controller-manager-extra-env: [MARK=changed]", {"kube-controller-manager"}),
    ):
        config += line + "\n"
        assert change(node, config) == touched, line
    assert "-v=3" in node.sh("tr '\\0' ' ' </proc/$(pgrep -x kube-scheduler)/cmdline").stdout
    assert node.sh("stat -c %a /etc/rancher/rke2/rke2.yaml").stdout.strip() == "640"


@pytest.mark.long
@pytest.mark.contract("L12")
def test_a_changed_configuration_of_etcd_replaces_etcd_and_nothing_else(configurable: Node) -> None:
    assert change(configurable, "etcd-expose-metrics: true\n") == {"etcd"}
    assert configurable.run("curl", "-s", f"http://{configurable.address}:2381/health").stdout


@pytest.mark.contract("L12")
def test_a_component_that_is_disabled_goes_and_comes_back_when_it_is_not(configurable: Node) -> None:
    node = configurable
    unit = product.pod_unit("kube-scheduler")
    assert change(node, "disable-scheduler: true\n") == {"kube-scheduler"}
    assert product.state(node, unit) == "inactive"
    assert "kube-scheduler" not in node.sh("ls /var/lib/rancher/rke2/agent/pod-manifests").stdout
    assert change(node, "") == {"kube-scheduler"}
    assert product.state(node, unit) == "active"


# -- drop-ins ----------------------------------------------------------------------------------------


def edit(node: Node, unit: str, text: str) -> None:
    """systemctl edit, with an editor that writes this text."""
    node.write("/root/editor", f"#!/bin/sh\ncat >\"$1\" <<'END'\n{text}END\n", mode=0o755)
    # It wants a terminal.
    node.run("script", "-qec", f"SYSTEMD_EDITOR=/root/editor systemctl edit {unit}", "/dev/null")


def environment(node: Node, unit: str) -> list[str]:
    return node.read(f"/proc/{node.main_pid(unit)}/environ").split("\0")


@pytest.mark.contract("L13")
def test_a_drop_in_of_the_administrator_takes_effect_and_stays(configurable: Node) -> None:
    node = configurable
    units = (CONTAINERD, KUBELET)
    marks = {unit: f"MARK={unit}" for unit in units}
    for unit in units:
        edit(node, unit, f"[Service]\nEnvironment={marks[unit]}\n")
    try:
        with containers_live_on(node):
            # The kubelet is bound to it.
            node.systemctl("restart", CONTAINERD)
            product.wait_until_running(node)
        assert all(marks[unit] in environment(node, unit) for unit in units)
        # Rendered anew, and restarted for it.
        assert change(node, "kubelet-arg: [max-pods=98]\nnonroot-devices: true\n") == {
            "containerd",
            "kubelet",
        }
        assert all(marks[unit] in environment(node, unit) for unit in units)
        node.run("rke2-units", "install", "--role", "server")
        product.upgrade(node)
        node.systemctl("restart", CONTAINERD)
        product.wait_until_running(node)
        assert all(marks[unit] in environment(node, unit) for unit in units)
    finally:
        node.run("systemctl", "revert", *units)
        node.systemctl("restart", CONTAINERD)
