"""A node of the machine's own programs, then one whose pods run in Debian's own containerd.service.

In the order of the file, one node goes through all of it. Beside its pods it has two containers that are
none of ours, in Debian's containerd.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.helpers import pods, product
from tests.node.helpers.failing import failing_start
from tests.node.helpers.product import (
    BASIC_CONFIG,
    COMPONENTS,
    CONFIG,
    CONTAINERD,
    KUBELET,
    SERVER,
    pod_unit,
    state,
)
from tests.nodes.content import content
from tests.nodes.debian_packages import debs
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

DATA = "/var/lib/rancher/rke2"
CONTENT, IMAGES = "rke2-content.service", "rke2-images.service"
HOST_UNITS = (CONTAINERD, IMAGES, KUBELET, *(pod_unit(component) for component in COMPONENTS))
FOREIGN_UNITS = (CONTENT, *(unit for unit in HOST_UNITS if unit != CONTAINERD))
HOST = f"{BASIC_CONFIG}content: host\n"
DEBIANS = "containerd.service"
SOCKET = "/run/containerd/containerd.sock"
FOREIGN = f"{BASIC_CONFIG}container-runtime-endpoint: unix://{SOCKET}\n"
CONTAINERD_CONFIG = "/etc/containerd/config.toml"
CTR = f"/usr/bin/ctr --address {SOCKET}"
# containerd's own namespace, and that of Kubernetes, which others may use too.
NAMESPACES = ("default", "k8s.io")
SLEEP = "while :; do sleep 1; done"


@pytest.fixture(scope="module")
def node(deb: Path) -> Iterator[Node]:
    """A node with our package and the content's archives; the role is not installed."""
    made = content("bookworm")
    with NspawnNode.boot("host-content", "bookworm", made, replace=True) as node:
        node.copy_in(deb, "/root/rke2-units.deb")
        node.run("apt-get", "install", "--yes", "-qq", "/root/rke2-units.deb", timeout=300)
        for file in debs("bookworm", "containerd", "runc"):
            node.copy_in(file, f"/root/debs/{file.name}")
        yield node


def install(node: Node, config: str) -> str:
    """What `rke2-units install` says when it fails, "" when it does not."""
    node.write(CONFIG, config)
    release = content(node.suite).release
    done = node.run("rke2-units", "install", "--role", "server", "--release", release, check=False)
    return done.stderr if done.returncode else ""


def install_packages(node: Node) -> None:
    node.sh("DEBIAN_FRONTEND=noninteractive apt-get install --yes --reinstall -qq /root/debs/*.deb")
    node.wait_for("Debian's containerd", ["sh", "-c", f"{CTR} version"], timeout=20)


def wait_until_running(node: Node, units: tuple[str, ...]) -> None:
    node.wait_for(
        "rke2-server and all its units to run",
        lambda: (
            set(product.states(node, SERVER, *units)) == {"active"}
            and product.status_text(node) == "running"
        ),
        timeout=120,
    )


def wait_until_ready(node: Node) -> None:
    node.wait_for(
        "the node to be Ready",
        lambda: " Ready " in node.kubectl("get", "nodes", "--no-headers", check=False).stdout,
        timeout=120,
    )


def start_foreign_containers(node: Node) -> None:
    node.sh(f"{CTR} version")
    for namespace in NAMESPACES:
        ctr = f"{CTR} --namespace {namespace}"
        node.sh(f"{ctr} images import {DATA}/agent/images/mirrored-library-busybox.tar")
        node.sh(f"{ctr} run --detach --cgroup /foreign-{namespace} {pods.IMAGE} foreign sleep 36000")


def foreign_containers(node: Node) -> dict[str, str]:
    """The PID of the foreign container by namespace."""
    found = {}
    for namespace in NAMESPACES:
        for line in node.sh(f"{CTR} --namespace {namespace} tasks ls").stdout.splitlines():
            if line.split()[0] == "foreign" and "RUNNING" in line:
                found[namespace] = line.split()[1]
    return found


def test_host_content_is_refused_with_the_packages_that_the_machine_lacks(node: Node) -> None:
    said = install(node, HOST)
    assert "config.yaml:3: content cannot be host: this machine lacks containerd" in said
    assert "apt install containerd runc" in said
    install_packages(node)
    said = install(node, HOST)
    assert "there is no kubelet in /usr/local/sbin:" in said and "set kubelet-path" in said


def test_a_kubelet_that_is_not_executable_is_refused(node: Node) -> None:
    programs = content(node.suite).programs
    node.copy_in(programs / "kubelet", "/opt/kubelet")
    node.run("chmod", "-x", "/opt/kubelet")
    assert "and there is no /opt/kubelet" in install(node, f"{HOST}kubelet-path: /opt/kubelet\n")
    node.sh("chmod +x /opt/kubelet; mv /opt/kubelet /usr/local/bin/")
    # Where the harness looks for programs; rke2-units does not.
    node.copy_in(programs / "kubectl", "/root/programs/kubectl")
    node.sh(f"ln -s /usr/bin/ctr /root/programs/ctr; ln -s /root/programs {DATA}/bin")


def test_a_node_of_the_machines_own_programs_comes_up(node: Node) -> None:
    start_foreign_containers(node)
    assert install(node, HOST) == ""
    product.start(node)
    wait_until_running(node, HOST_UNITS)
    wait_until_ready(node)
    assert node.unit(CONTENT)["LoadState"] == "not-found"
    assert not node.exists(f"{DATA}/data/.lock")
    for unit, program in ((CONTAINERD, "/usr/bin/containerd"), (KUBELET, "/usr/local/bin/kubelet")):
        assert node.run("readlink", f"/proc/{node.main_pid(unit)}/exe").stdout.strip() == program
    assert set(product.pods_of(node)) == {f"{component}-{node.name}" for component in COMPONENTS}
    status = node.run("rke2-units", "status").stdout
    assert CONTAINERD in status and CONTENT not in status
    assert node.run("rke2-units", "diff").stdout == ""


def test_its_containers_live_on_over_stop_and_start_and_over_the_end_of_containerd(node: Node) -> None:
    with product.containers_live_on(node):
        node.systemctl("stop", "rke2-server")
        assert state(node, CONTAINERD) == "inactive"
        product.start(node)
        wait_until_running(node, HOST_UNITS)
        daemon = node.main_pid(SERVER)
        node.kill(CONTAINERD)
        product.wait_for_another_process(node, SERVER, daemon, timeout=60)
        wait_until_running(node, HOST_UNITS)


@pytest.mark.contract("L14")
def test_an_upgrade_of_debians_packages_restarts_nothing_of_ours(node: Node) -> None:
    before = {unit: node.main_pid(unit) for unit in (SERVER, CONTAINERD, KUBELET)}
    with product.containers_live_on(node):
        install_packages(node)
        assert {unit: node.main_pid(unit) for unit in before} == before
        node.systemctl("restart", "rke2-server")
        wait_until_running(node, HOST_UNITS)
    assert {unit: node.main_pid(unit) for unit in (CONTAINERD, KUBELET)} == {
        unit: before[unit] for unit in (CONTAINERD, KUBELET)
    }


def test_another_containerd_is_refused_while_pods_run_in_this_one(node: Node) -> None:
    before = {unit: node.main_pid(unit) for unit in (CONTAINERD, KUBELET)}
    node.write(CONFIG, FOREIGN)
    assert node.systemctl("restart", "rke2-server", check=False).returncode != 0
    said = product.status_text(node)
    assert "container-runtime-endpoint cannot change while pods run: kube-system/" in said
    assert "rke2-units killall" in said
    assert {unit: node.main_pid(unit) for unit in before} == before
    node.write(CONFIG, HOST)
    product.start(node)
    wait_until_running(node, HOST_UNITS)


@pytest.mark.contract("L11")
def test_killall_ends_our_containerd_and_not_debians(node: Node) -> None:
    foreign, debians = foreign_containers(node), node.main_pid(DEBIANS)
    assert set(foreign) == set(NAMESPACES)
    node.run("rke2-units", "killall", timeout=120)
    processes = node.sh("ps -eo args").stdout
    for name in ("kube-apiserver", "/pause", "rke2_units", "/run/k3s"):
        assert name not in processes
    assert "/run/k3s" not in node.read("/proc/mounts")
    assert foreign_containers(node) == foreign
    assert node.main_pid(DEBIANS) == debians


def test_a_containerd_that_does_not_serve_kubernetes_is_refused_with_what_it_lacks(node: Node) -> None:
    node.sh(f"sed -i '1i disabled_plugins = [\"io.containerd.grpc.v1.cri\"]' {CONTAINERD_CONFIG}")
    node.systemctl("restart", DEBIANS)
    node.write(CONFIG, FOREIGN)
    failing_start(node).tells("does not serve Kubernetes: its CRI plugin is disabled")
    assert node.unit(SERVER)["ExecMainStatus"] == "78"


def test_pods_run_in_the_containerd_that_is_there_already(node: Node) -> None:
    # As its administrator has to: with our pause image, network plugins and driver of control groups.
    node.write("/root/plain.yaml", BASIC_CONFIG)
    release = content(node.suite).release
    node.run(
        "rke2-units", "render", "--release", release, "--root", "/root/plain", "--config", "/root/plain.yaml"
    )
    node.sh(
        f"sed 's,{DATA}/agent/containerd,/var/lib/containerd,; s,/run/k3s/containerd,/run/containerd,'"
        f" /root/plain{DATA}/agent/etc/containerd/config.toml >{CONTAINERD_CONFIG}"
    )
    foreign = foreign_containers(node)
    node.systemctl("restart", DEBIANS)
    node.systemctl("reset-failed", SERVER)
    product.start(node)
    wait_until_running(node, FOREIGN_UNITS)
    wait_until_ready(node)
    assert node.unit(CONTAINERD)["LoadState"] == "not-found"
    assert not node.exists("/run/k3s/containerd")
    status = node.run("rke2-units", "status").stdout
    assert CONTENT in status and CONTAINERD not in status
    pods.apply(node, pods.manifest(node, "sleeper", SLEEP))
    pods.wait_until_running(node, "sleeper")
    assert foreign_containers(node) == foreign


def test_its_containers_live_on_over_stop_start_and_a_restart_of_that_containerd(node: Node) -> None:
    daemon = node.main_pid(SERVER)
    with product.containers_live_on(node):
        node.systemctl("restart", DEBIANS)
        node.run("sleep", "3")
        wait_until_running(node, FOREIGN_UNITS)
        assert node.main_pid(SERVER) == daemon
        node.systemctl("stop", "rke2-server")
        product.start(node)
        wait_until_running(node, FOREIGN_UNITS)


@pytest.mark.contract("L7")
def test_a_static_pod_that_is_stopped_goes_and_comes_back(node: Node) -> None:
    unit, name = pod_unit("kube-scheduler"), f"kube-scheduler-{node.name}"
    before = set(node.container_processes())
    node.run("systemctl", "stop", unit, timeout=90)
    assert len(before - set(node.container_processes())) == 2
    node.run("systemctl", "start", unit, timeout=120)
    wait_until_running(node, FOREIGN_UNITS)
    assert node.kubectl("get", "pod", "--namespace", "kube-system", name, check=False).returncode == 0


def test_it_waits_for_a_containerd_that_comes_up_later(node: Node) -> None:
    node.systemctl("stop", "rke2-server", DEBIANS)
    node.systemctl("start", "--no-block", "rke2-server")
    node.wait_for(
        "the daemon to wait for containerd",
        lambda: f"waiting for the containerd behind {SOCKET}" in product.status_text(node),
        timeout=30,
    )
    node.systemctl("start", DEBIANS)
    wait_until_running(node, FOREIGN_UNITS)


@pytest.mark.contract("L11")
def test_killall_ends_our_pods_and_leaves_the_containerd_and_others_containers(node: Node) -> None:
    foreign, debians = foreign_containers(node), node.main_pid(DEBIANS)
    assert set(foreign) == set(NAMESPACES)
    node.run("rke2-units", "killall", timeout=120)
    assert node.container_processes() == {}
    processes = node.sh("ps -eo args").stdout
    for name in ("kube-apiserver", "/pause", "rke2_units", "/usr/local/bin/kubelet"):
        assert name not in processes
    mounts = node.read("/proc/mounts")
    for place in ("/sandboxes/", "/var/lib/kubelet/pods", "/run/netns/cni-"):
        assert place not in mounts
    assert foreign_containers(node) == foreign
    assert node.main_pid(DEBIANS) == debians
    product.start(node)
    wait_until_running(node, FOREIGN_UNITS)
    wait_until_ready(node)
    node.run("rke2-units", "uninstall", "--yes", "--purge-data", timeout=180)
    assert foreign_containers(node) == foreign
