"""Mounts of ours are found by where they are, the last mounted first."""

import pytest

from rke2_units.errors import UserError
from rke2_units.machine import mounts
from rke2_units.machine.mounts import below, mount_points

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
31 30 0:26 / /run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/a/shm rw shared:6 - tmpfs shm rw
32 30 0:27 / /run/k3s-of-somebody rw - tmpfs x rw
33 22 0:28 / /var/lib/kubelet/pods/uid/volumes/kubernetes.io~projected/t rw - tmpfs tmpfs rw
34 33 0:29 / /var/lib/kubelet/pods/uid/volumes/kubernetes.io~projected/t/with\\040space rw - tmpfs tmpfs rw
35 30 0:4 net:[1] /run/netns/cni-1 rw shared:7 - nsfs nsfs rw
"""


def test_mount_points_are_read_with_their_escapes() -> None:
    points = mount_points(MOUNTINFO)
    assert len(points) == 7
    assert points[5] == "/var/lib/kubelet/pods/uid/volumes/kubernetes.io~projected/t/with space"


@pytest.mark.parametrize("odd", ["\xa0", "\u2003", "\u2028", "\x85", "\x0c", "\x1c", "\r"])
def test_of_white_space_the_kernel_escapes_what_separates_and_nothing_else(odd: str) -> None:
    path = f"/run/k3s/a{odd}b{odd}c{odd}d{odd}/etc"
    assert mount_points(f"36 35 98:0 / {path} rw - tmpfs tmpfs rw\n") == [path]


def test_those_below_are_found_deepest_first() -> None:
    points = mount_points(MOUNTINFO)
    assert below(points, ("/run/k3s/", "/var/lib/kubelet/pods/")) == [points[5], points[4], points[2]]
    assert below(points, ("/nowhere/",)) == []


def test_a_mount_that_hangs_is_detached_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    present = ["/run/k3s/a"]
    tried: list[list[str]] = []

    def umount(command: list[str], *, check: bool) -> None:
        tried.append(command)
        if "--lazy" not in command:
            raise UserError("umount /run/k3s/a did not finish within 60 seconds")
        present.clear()

    monkeypatch.setattr(mounts, "read_mount_points", lambda: list(present))
    monkeypatch.setattr(mounts, "run", umount)
    assert mounts.unmount(["/run/k3s/a", "/run/k3s/gone"]) == 1
    assert tried == [["umount", "--", "/run/k3s/a"], ["umount", "--lazy", "--", "/run/k3s/a"]]
