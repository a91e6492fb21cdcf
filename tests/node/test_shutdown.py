"""L10: a shutdown lets pods end, a boot brings everything back. L11: killall leaves nothing of ours."""

import time
from collections.abc import Iterator

import pytest

from tests.node.helpers import pods, product
from tests.nodes.machine import Node

TERM_LOG = "/var/tmp/pods/graceful"
GRACEFUL = (
    f"trap 'echo term >> /host/{TERM_LOG.rpartition('/')[2]}; sleep 5;"
    f" echo done >> /host/{TERM_LOG.rpartition('/')[2]}; exit 0' TERM; while :; do sleep 0.2; done"
)
# As the first process of a container it has no handler for SIGTERM, so that the kernel drops it.
DEAF = "trap '' TERM; while :; do sleep 1; done"
FOREIGN_SOCKET = "/run/foreign/containerd.sock"


def test_l10_pods_get_their_grace_and_the_node_comes_back_without_help(server: Node) -> None:
    pods.apply(
        server, pods.manifest(server, "graceful", GRACEFUL), pods.manifest(server, "deaf", DEAF, grace=3600)
    )
    pods.wait_until_running(server, "graceful", "deaf")
    server.sh(f"rm -f {TERM_LOG}")
    began = time.monotonic()
    server.power_off(timeout=90)
    took = time.monotonic() - began
    server.power_on()
    product.wait_until_running(server)
    assert took < 60
    assert server.read(TERM_LOG).split() == ["term", "done"]
    assert set(product.pods_of(server)) >= {f"{c}-{server.name}" for c in product.COMPONENTS}
    server.wait_for(
        "the node to be Ready",
        lambda: " Ready " in server.kubectl("get", "nodes", "--no-headers", check=False).stdout,
        timeout=120,
    )
    pods.remove(server, "graceful", "deaf")


@pytest.fixture
def foreign(server: Node) -> Iterator[Node]:
    """A container, a mount and a firewall rule that are none of ours."""
    bin_directory = "/var/lib/rancher/rke2/bin"
    server.sh(
        "mkdir -p /run/foreign /var/lib/foreign /mnt/foreign /var/lib/kubelet/foreign &&"
        " mount -t tmpfs foreign /mnt/foreign && mount -t tmpfs foreign /var/lib/kubelet/foreign &&"
        " iptables -A FORWARD -i flannel.1 -s 192.0.2.78 -j DROP &&"
        " iptables -A INPUT -s 192.0.2.77 -j DROP -m comment --comment foreign"
    )
    # Programs of its own: that it happens to be containerd as well must not make it ours.
    server.sh(f"cd {bin_directory} && cp containerd containerd-shim-runc-v2 runc /usr/local/bin/")
    server.write(
        "/var/lib/foreign/config.toml",
        'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\nroot = "/var/lib/foreign/root"\n'
        f'state = "/run/foreign/state"\n[grpc]\n  address = "{FOREIGN_SOCKET}"\n',
    )
    server.run(
        "systemd-run", "--unit=foreign", "--property=Delegate=yes",
        "/usr/local/bin/containerd", "--config", "/var/lib/foreign/config.toml",
    )  # fmt: skip
    ctr = f"{bin_directory}/ctr --address {FOREIGN_SOCKET}"
    server.wait_for(
        "the foreign containerd",
        lambda: server.sh(f"{ctr} version", check=False).returncode == 0,
        timeout=20,
    )
    server.sh(f"{ctr} images import /var/lib/rancher/rke2/agent/images/mirrored-library-busybox.tar")
    server.sh(f"{ctr} run --detach --cgroup /foreign {pods.IMAGE} foreign sleep 3600")
    yield server
    server.sh(
        f"{ctr} tasks kill --signal KILL foreign; systemctl stop foreign;"
        " umount /mnt/foreign /var/lib/kubelet/foreign;"
        " iptables -D FORWARD -i flannel.1 -s 192.0.2.78 -j DROP;"
        " iptables -D INPUT -s 192.0.2.77 -j DROP -m comment --comment foreign",
        check=False,
    )


def test_l11_killall_leaves_nothing_of_ours_and_everything_else(foreign: Node) -> None:
    node = foreign
    script = "while :; do echo hello | nc -l -p 8080; done"
    pods.apply(node, pods.manifest(node, "web", script, volumes=True), pods.node_port("web", 8080, 30080))
    pods.wait_until_running(node, "web")
    node.wait_for(
        "the rules of the NodePort", lambda: "30080" in node.sh("iptables-save -t nat").stdout, timeout=60
    )
    assert "/var/lib/kubelet/pods/" in node.read("/proc/mounts")
    node.run("rke2-units", "killall", timeout=120)

    processes = node.sh("ps -eo args").stdout
    for name in ("kube-apiserver", "/pause", "/var/lib/rancher/rke2/data", "rke2_units"):
        assert name not in processes
    mounts = node.read("/proc/mounts")
    for place in ("/run/k3s", "/var/lib/kubelet/pods", "/run/netns/cni-"):
        assert place not in mounts
    assert "cni0" not in node.sh("ip -o link").stdout
    assert "cni-" not in node.sh("ls /run/netns 2>/dev/null; true").stdout
    rules = node.sh("iptables-save; ip6tables-save").stdout
    assert "KUBE-" not in rules and "CNI-" not in rules
    assert "kubepods" not in node.sh("find /sys/fs/cgroup -maxdepth 2 -name 'kubepods*'").stdout
    assert "kubepods" not in node.sh("systemctl list-units --no-legend --type=slice,scope").stdout
    assert "failed" not in node.sh("systemctl list-units --all --no-legend --state=failed 'rke2-*'").stdout

    assert "192.0.2.77" in rules and "192.0.2.78" in rules
    assert " /mnt/foreign " in mounts and " /var/lib/kubelet/foreign " in mounts
    tasks = node.sh(f"/var/lib/rancher/rke2/bin/ctr --address {FOREIGN_SOCKET} tasks ls").stdout
    assert "RUNNING" in tasks

    product.start(node)
    product.wait_until_running(node)
    pods.remove(node, "web")
    node.kubectl("delete", "service", "web")
