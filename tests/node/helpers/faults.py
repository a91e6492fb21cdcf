"""What can be wrong with a node so that a component does not start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.node.helpers.product import BASIC_CONFIG, CONFIG
from tests.nodes.machine import Node

DATA = "/var/lib/rancher/rke2"
IMAGES = f"{DATA}/agent/images"
_CTR = f"{DATA}/bin/ctr --address /run/k3s/containerd/containerd.sock --namespace k8s.io"


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with a node that does not run, as shell scripts.

    tells: words that name the component and the cause.
    arise: makes it so.
    vanish: mends the cause, and nothing else.
    clean: removes what else was done to the node, once that is stopped.
    """

    tells: tuple[str, ...]
    arise: str
    vanish: str
    clean: str = ""

    @contextmanager
    def on(self, node: Node) -> Iterator[None]:
        node.sh(self.arise)
        try:
            yield
        finally:
            node.sh(self.vanish)


def configured(line: str, *tells: str) -> Fault:
    """A line of config.yaml that the component itself does not accept."""
    return Fault(tells, f"printf '%s\\n' '{line}' >>{CONFIG}", f"printf '%s' '{BASIC_CONFIG}' >{CONFIG}")


def without_archive(name: str, forget: str, *tells: str) -> Fault:
    """An image that is in no archive, and nowhere else since `forget`."""
    return Fault(tells, f"{forget}\nmv {IMAGES}/{name} /root/", f"mv /root/{name} {IMAGES}/")


def taken_port(port: int, *tells: str) -> Fault:
    """A foreign process has the port. killall: the pod that had it lives on after a stop."""
    listen = f'import socket, time; s = socket.create_server(("", {port})); time.sleep(1e6)'
    return Fault(
        tells,
        f"""rke2-units killall
        systemd-run --quiet --unit=foreign python3 -c '{listen}'
        until ss -Htln | grep -q ':{port} '; do sleep 0.1; done""",
        "systemctl stop foreign",
    )


def full_disk(directory: str, size: str, *tells: str) -> Fault:
    """A file system that is too small, in the place of this directory, until it is made larger."""
    return Fault(
        (*tells, f"the file system at {directory} has "),
        f"""rke2-units killall
        mkdir -p {directory}
        mount -t tmpfs -o size={size},mode=0755 tmpfs {directory}""",
        f"mount -o remount,size=3g {directory}",
        clean=f"rke2-units killall && umount {directory}",
    )


_CONTENT = f"rm -r {DATA}/bin {DATA}/data"
_ETCD_IMAGE = f"""rke2-units killall
systemctl start rke2-containerd
{_CTR} images ls --quiet | grep etcd | xargs {_CTR} images rm --sync
systemctl stop rke2-kubelet rke2-containerd"""
_PORT = "address already in use"

KUBELET_FLAG = configured("kubelet-arg: [no-such-flag=1]", "kubelet", "unknown flag: --no-such-flag")
SCHEDULER_FLAG = configured(
    "kube-scheduler-arg: [no-such-flag=1]", "kube-scheduler", "unknown flag: --no-such-flag"
)
# Those that show before any pod is started.
EARLY = {
    "the runtime image missing": without_archive(
        "rke2-runtime.tar", _CONTENT, "content", "rancher/rke2-runtime:", IMAGES
    ),
    "the disk full for the content": full_disk(f"{DATA}/data", "20m", "content", "No space left on device"),
    "the kubelet's port taken": taken_port(10250, "kubelet", _PORT),
}
LATE = {
    "a bad flag of kube-apiserver": configured(
        "kube-apiserver-arg: [no-such-flag=1]", "kube-apiserver", "unknown flag: --no-such-flag"
    ),
    "a bad flag of kube-controller-manager": configured(
        "kube-controller-manager-arg: [no-such-flag=1]",
        "kube-controller-manager",
        "unknown flag: --no-such-flag",
    ),
    "a bad flag of kube-proxy": configured(
        "kube-proxy-arg: [no-such-flag=1]", "kube-proxy", "unknown flag: --no-such-flag"
    ),
    "a bad value of etcd": configured("etcd-arg: [quota-backend-bytes=many]", "etcd", "quota-backend-bytes"),
    "etcd's image missing": without_archive(
        "hardened-etcd.tar", _ETCD_IMAGE, "etcd", "rancher/hardened-etcd:", IMAGES
    ),
    "etcd's port taken": taken_port(2379, "etcd", _PORT),
    "kube-apiserver's port taken": taken_port(6443, "kube-apiserver", _PORT),
    "the disk full for images": full_disk(
        f"{DATA}/agent/containerd", "60m", "kube-apiserver", "no space left on device"
    ),
    "the disk full for etcd": full_disk(f"{DATA}/server/db/etcd", "8m", "etcd", "no space left on device"),
}
