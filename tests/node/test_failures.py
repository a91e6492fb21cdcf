"""L9: a component that cannot start. Every cause, on a real node, and how the node comes up again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.node import product
from tests.node.failing import LIMIT, Start, failing_start, stopped
from tests.node.product import BASIC_CONFIG, CONFIG, SERVER, state
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
        tells,
        f"""rke2-units killall
        mkdir -p {directory}
        mount -t tmpfs -o size={size},mode=0755 tmpfs {directory}""",
        f"mount -o remount,size=3g {directory}",
        clean=f"rke2-units killall && umount {directory}",
    )


_CONTENT = f"rm -r {DATA}/bin {DATA}/data"
_ETCD_IMAGE = f"""systemctl start rke2-containerd
{_CTR} images ls --quiet | grep etcd | xargs {_CTR} images rm --sync
systemctl stop rke2-kubelet rke2-containerd"""
_PORT = "address already in use"

OFTEN = {
    "a bad flag of the kubelet": configured(
        "kubelet-arg: [no-such-flag=1]", "kubelet", "unknown flag: --no-such-flag"
    ),
    "a bad flag of kube-apiserver": configured(
        "kube-apiserver-arg: [no-such-flag=1]", "kube-apiserver", "unknown flag: --no-such-flag"
    ),
    "the runtime image missing": without_archive(
        "rke2-runtime.tar", _CONTENT, "content", "rancher/rke2-runtime:", IMAGES
    ),
    "the kubelet's port taken": taken_port(10250, "kubelet", _PORT),
    "the disk full for the content": full_disk(f"{DATA}/data", "20m", "content", "No space left on device"),
}
LONG = {
    "a bad value of etcd": configured("etcd-arg: [quota-backend-bytes=many]", "etcd", "quota-backend-bytes"),
    "etcd's image missing": without_archive(
        "hardened-etcd.tar", _ETCD_IMAGE, "etcd", "rancher/hardened-etcd:", IMAGES
    ),
    "etcd's port taken": taken_port(2379, "etcd", _PORT),
    "kube-apiserver's port taken": taken_port(6443, "kube-apiserver", _PORT),
    "the disk full for images": full_disk(
        f"{DATA}/agent/containerd", "60m", "etcd", "no space left on device"
    ),
    "the disk full for etcd": full_disk(f"{DATA}/server/db/etcd", "8m", "etcd", "no space left on device"),
}


@pytest.mark.contract("L9")
@pytest.mark.parametrize(
    "fault",
    [
        *(pytest.param(fault, id=name) for name, fault in OFTEN.items()),
        *(pytest.param(fault, id=name, marks=pytest.mark.long) for name, fault in LONG.items()),
    ],
)
def test_what_keeps_a_component_from_starting_is_named_and_once_it_is_gone_the_node_comes_up(
    server: Node, fault: Fault
) -> None:
    with stopped(server, clean=fault.clean):
        with fault.on(server):
            failing_start(server).tells(*fault.tells)
            assert state(server, SERVER) == "activating"
        # By itself: nobody starts anything.
        product.wait_until_running(server, timeout=240)


@pytest.mark.contract("L9")
def test_attempts_are_counted_in_the_status_and_their_pauses_grow(server: Node) -> None:
    with stopped(server), OFTEN["a bad flag of the kubelet"].on(server):
        since = failing_start(server).since
        server.wait_for(
            "the fourth attempt", lambda: "attempt 4 at" in product.status_text(server), timeout=90
        )
        assert "kubelet does not start" in product.status_text(server)
    lines = [line for line in server.journal(SERVER, since=since).splitlines() if ": attempt " in line]
    pauses = []
    for line in lines[:3]:
        said, due = line.split()[2], line.split(" at ")[1].split(";")[0]
        pauses.append(seconds(due) - seconds(said))
    assert pauses == sorted(pauses) and pauses[-1] > 2 * pauses[0], lines


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


@pytest.mark.contract("L9")
def test_a_component_that_ready_does_not_wait_for_makes_the_node_degraded_and_is_tried_again(
    server: Node,
) -> None:
    with stopped(server):
        with configured("kube-scheduler-arg: [no-such-flag=1]").on(server):
            since = server.now()
            product.start(server, timeout=LIMIT)
            start = Start(server, since)
            server.wait_for(
                "the scheduler to fail", lambda: "degraded" in product.status_text(server), LIMIT
            )
            start.tells("kube-scheduler", "unknown flag: --no-such-flag")
            assert "attempt 2 at" in product.status_text(server)
        # A flag that is mended takes a restart, as any other change of the configuration.
        server.systemctl("restart", "rke2-server")
        product.wait_until_running(server, timeout=120)
