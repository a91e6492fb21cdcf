"""killall and uninstall leave alone what may be another's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rke2_units import layout
from rke2_units.cluster import cluster_status
from rke2_units.cluster.cluster_status import Cluster, ClusterNode
from rke2_units.doors import files
from rke2_units.doors.run import Completed
from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.machine import mounts
from rke2_units.machine.processes import Process
from rke2_units.node import installation, killall, pods, uninstall
from rke2_units.node.installation import Installation
from rke2_units.unit_names import Role

HERE = Installation(Role.SERVER, "v1.36.4+rke2r1", "/var/lib/rancher/rke2")


def process(pid: int, name: str, executable: str, cgroups: str) -> dict[int, Process]:
    return {pid: Process(pid, 1, name, executable, cgroups)}


POD = process(7, "pause", "/pause", "0::/kubepods/besteffort/pod1/abc")
K3S = process(8, "k3s-server", "/var/lib/rancher/k3s/data/x/bin/k3s", "0::/system.slice/k3s.service")
# Looks like ours in all: RKE2's unit has this name, and its programs lie there.
RKE2 = process(
    9,
    "containerd",
    f"{os.path.realpath(Paths().content)}/v1/bin/containerd",
    "0::/system.slice/rke2-server.service",
)
KUBEADM = process(10, "kubelet", "/usr/bin/kubelet", "0::/system.slice/kubelet.service")


class Ending(Exception):
    """The first thing that is done to the machine."""


def end(*arguments: object, **options: object) -> Iterator[str]:
    raise Ending


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of root's on which every change raises Ending."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(killall, "_stop_units", end)
    monkeypatch.setattr(uninstall, "run", end)
    monkeypatch.setattr(uninstall, "_remove", end)
    monkeypatch.setattr(mounts, "of_administrator", set)
    return monkeypatch


@pytest.mark.parametrize(
    ("running", "said"),
    [
        (POD | K3S, "pods of another Kubernetes are running (for example pause, PID 7)"),
        (POD | RKE2, "pods of another Kubernetes are running (for example pause, PID 7)"),
        (POD | KUBEADM, "pods of another Kubernetes are running (for example pause, PID 7)"),
        # Between two pods, or before the first one.
        (RKE2, "rke2-units is not installed here"),
        (K3S, "rke2-units is not installed here"),
        ({}, "rke2-units is not installed here"),
    ],
)
def test_where_no_node_is_installed_killall_touches_nothing(
    running: dict[int, Process], said: str, untouched: pytest.MonkeyPatch
) -> None:
    untouched.setattr(installation, "read", lambda root="/": None)
    untouched.setattr(killall, "read_processes", lambda: running)
    with pytest.raises(UserError) as raised:
        list(killall.kill_all())
    assert said in raised.value.message
    assert "nothing was changed" in str(raised.value.hint)


@pytest.mark.parametrize("running", [POD | K3S, POD | RKE2, {}])
def test_where_a_node_is_installed_it_is_ended(
    running: dict[int, Process], untouched: pytest.MonkeyPatch
) -> None:
    untouched.setattr(installation, "read", lambda root="/": HERE)
    untouched.setattr(killall, "read_processes", lambda: running)
    with pytest.raises(Ending):
        list(killall.kill_all())


@pytest.mark.parametrize("directory", ["/usr", "/", "/srv/rke2"])
def test_without_an_installation_no_data_is_removed_wherever_it_may_be(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RKE2_DATA_DIR", directory)
    monkeypatch.setattr(installation, "read", lambda root="/": None)
    monkeypatch.setattr(
        installation, "written_files", lambda root="/": ("/usr/local/lib/x.service", "/gone")
    )
    there = {"/usr/local/lib/x.service", layout.KUBELET_DIRECTORY, "/var/lib/cni", f"{directory}/bin"}
    monkeypatch.setattr(os.path, "lexists", lambda path: path in there)
    monkeypatch.setattr(os.path, "isdir", lambda path: path == layout.STATE_DIRECTORY)
    assert uninstall.removals(purge_data=True) == ["/usr/local/lib/x.service", layout.STATE_DIRECTORY]


def test_what_a_killed_install_left_is_removed_and_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.service").write_text("")
    orders: list[list[str]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "read", lambda root="/": None)
    monkeypatch.setattr(installation, "_LOCK", f"{tmp_path}/lock")
    monkeypatch.setattr(killall, "read_processes", lambda: RKE2)
    monkeypatch.setattr(uninstall, "kill_all", lambda: pytest.fail("there is no node of ours"))
    monkeypatch.setattr(uninstall, "removals", lambda purge: [f"{tmp_path}/x.service"])
    monkeypatch.setattr(uninstall, "run", lambda order, **_: orders.append(order))
    assert list(uninstall.uninstall(purge_data=True)) == ["1 files and folders removed"]
    assert not (tmp_path / "x.service").exists()
    assert orders == [
        ["systemctl", "daemon-reload"]
    ]  # rke2-server.service is not disabled: it may be RKE2's


def test_beside_pods_of_another_kubernetes_nothing_of_a_killed_install_is_removed(
    untouched: pytest.MonkeyPatch,
) -> None:
    untouched.setattr(installation, "read", lambda root="/": None)
    untouched.setattr(killall, "read_processes", lambda: POD | RKE2)
    untouched.setattr(uninstall, "removals", lambda purge: [layout.STATE_DIRECTORY])
    with pytest.raises(UserError, match="pods of another Kubernetes"):
        list(uninstall.uninstall(purge_data=False))


@pytest.mark.parametrize("of_administrator", [True, False])
def test_nothing_is_removed_while_something_is_mounted_in_it(
    of_administrator: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = f"{tmp_path}/kubelet/plugins/volume"
    Path(point).mkdir(parents=True)
    ended: list[bool] = []

    def kill_all() -> Iterator[str]:
        ended.append(True)
        yield "ended"

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "read", lambda root="/": HERE)
    monkeypatch.setattr(uninstall, "kill_all", kill_all)
    monkeypatch.setattr(uninstall, "removals", lambda purge: [f"{tmp_path}/other", f"{tmp_path}/kubelet"])
    monkeypatch.setattr(mounts, "read_mount_points", lambda: ["/", point])
    monkeypatch.setattr(
        mounts, "of_administrator", lambda: {"/mnt", point} if of_administrator else {"/mnt"}
    )
    with pytest.raises(UserError, match="volume is still mounted; nothing was removed"):
        list(uninstall.uninstall(purge_data=True))
    assert (tmp_path / "kubelet").exists()
    # One that an administrator has set up is still there afterwards: that is told before anything is ended.
    assert bool(ended) is not of_administrator


VOLUME = "pods/0a-1b/volumes/kubernetes.io~projected/token"
STAGED = "plugins/kubernetes.io/csi/driver/0c/globalmount"


@pytest.mark.parametrize(
    ("directories", "points", "of_administrator", "unmounted"),
    [
        (["/var/lib/kubelet"], [f"/srv/kubelet/{VOLUME}", f"/srv/kubelet/{STAGED}"], set(), [0, 1]),
        # kubelet-arg root-dir, now and before
        (
            ["/opt/rancher/kubelet", "/var/lib/kubelet"],
            [f"/opt/rancher/kubelet/{VOLUME}", f"/srv/kubelet/{STAGED}"],
            set(),
            [0, 1],
        ),
        (["/opt/kubelet"], ["/opt/kubelet-of-others/pods/x/y", f"/srv/kubelet/{VOLUME}"], set(), []),
        # an administrator's disks in place of the kubelet's folders, or beside them
        (["/var/lib/kubelet"], ["/srv/kubelet", "/srv/kubelet/pods", "/srv/kubelet/plugins"], set(), []),
        (["/var/lib/kubelet"], ["/srv/kubelet/my-data"], set(), []),
        (
            ["/var/lib/kubelet"],
            ["/srv/kubelet/pods", f"/srv/kubelet/{VOLUME}"],
            {"/srv/kubelet/pods"},
            [1],
        ),
        # and in them: what is around it would take it along
        (
            ["/var/lib/kubelet"],
            ["/srv/kubelet/plugins/a", "/srv/kubelet/plugins/a/b", f"/srv/kubelet/{VOLUME}"],
            {"/srv/kubelet/plugins/a/b"},
            [2],
        ),
        (["/var/lib/kubelet"], ["/run/k3s", "/run/k3s/containerd/x", "/run/k3s-of-mine/x"], set(), [1]),
        (["/var/lib/kubelet"], ["/run/k3s/containerd/x"], {"/run/k3s/containerd/x"}, []),
    ],
)  # fmt: skip
def test_mounts_of_ours_go_and_an_administrators_stay(
    directories: list[str],
    points: list[str],
    of_administrator: set[str],
    unmounted: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = {f"/var/lib/kubelet/{name}": f"/srv/kubelet/{name}" for name in ("pods", "plugins")}
    monkeypatch.setattr(os.path, "realpath", lambda path: real.get(path, path))
    monkeypatch.setattr(mounts, "read_mount_points", lambda: ["/", "/run", *points])
    monkeypatch.setattr(mounts, "of_administrator", lambda: of_administrator)
    installed = Installation(Role.AGENT, "v1.36.4+rke2r1", "/data", tuple(directories))
    wanted = [points[index] for index in unmounted]
    assert killall._mounts(installed) == list(reversed(wanted))


def test_a_purge_removes_what_the_kubelet_has_in_another_folder_and_not_what_others_have_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (f"kubelet/{VOLUME}", "kubelet/my-files", "rke2/server/db", "rke2/my-files"):
        (tmp_path / path).mkdir(parents=True)
    here = Installation(Role.SERVER, "v1.36.4+rke2r1", f"{tmp_path}/rke2", (f"{tmp_path}/kubelet",))
    monkeypatch.setattr(installation, "read", lambda root="/": here)
    monkeypatch.setattr(installation, "written_files", lambda root="/": ())
    monkeypatch.setattr(uninstall, "_DATA", ())
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    assert uninstall.removals(purge_data=True) == [f"{tmp_path}/rke2/server", f"{tmp_path}/kubelet/pods"]


def server(name: str, *roles: str) -> ClusterNode:
    return ClusterNode(name, "192.0.2.1", roles, "v1", ready=True, since=0)


HERE_IS, AGENT = server("one", "control-plane", "etcd"), server("three")


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (Cluster((HERE_IS,)), "This is the only server of its cluster"),
        (Cluster((HERE_IS, AGENT)), "This is the only server of its cluster"),
        (Cluster((HERE_IS, AGENT, server("two", "control-plane"))), "No other server has etcd"),
        (Cluster((HERE_IS, server("two", "etcd"))), ""),
        (Cluster(problem="no answer"), "This server has data of etcd: unless another server has it"),
        (None, "This server has data of etcd: unless another server has it"),
    ],
)
def test_who_purges_the_last_data_of_etcd_is_told(
    cluster: Cluster | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Planned:
        node_name = "one"

    paths = Paths(str(tmp_path))
    here = Installation(Role.SERVER, "v1.36.4+rke2r1", paths.data)
    monkeypatch.setattr(installation, "read", lambda root="/": here)
    monkeypatch.setattr(cluster_status, "ask", lambda paths, timeout: cluster)
    monkeypatch.setattr(pods, "planned_settings", lambda paths: Planned())
    assert uninstall.losses() == []  # no data of etcd: an agent, or not started yet
    os.makedirs(paths.etcd_data)
    assert " ".join(uninstall.losses()).startswith(said)
    assert len(uninstall.losses()) == (said != "")


def test_archives_and_snapshots_that_a_purge_removes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(str(tmp_path))
    here = Installation(Role.AGENT, "v1.36.4+rke2r1", paths.data)
    monkeypatch.setattr(installation, "read", lambda root="/": here)
    for name in (f"{paths.images}/a.tar.zst", f"{paths.images}/b.txt", f"{paths.snapshots}/s"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert uninstall.losses() == [
        f"2 archives and lists of images in {paths.images} are removed as well.",
        f"1 snapshots of etcd in {paths.snapshots} are removed as well.",
    ]


UNITS = """\
Where=/proc/sys/fs/binfmt_misc
FragmentPath=/usr/lib/systemd/system/proc-sys-fs-binfmt_misc.mount

Where=/var/lib/kubelet/pods/0a/volumes/x
FragmentPath=

Where=/var/lib/kubelet/pods/0b/volumes/x

Where=/var/lib/kubelet/pods
FragmentPath=/run/systemd/generator/var-lib-kubelet-pods.mount
"""
FSTAB = """\
# <file system> <mount point>
UUID=0 / ext4 defaults 0 1
/dev/sdb none swap sw 0 0
/dev/sdc\t/mnt/with\\040space xfs noauto 0 0
  # /dev/sdd /mnt/not ext4
broken
"""


def test_an_administrators_mounts_are_known_by_fstab_and_by_units_with_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "run", lambda command, check: Completed(0, UNITS, ""))
    monkeypatch.setattr(files, "read_text", {"/etc/fstab": FSTAB}.get)
    assert mounts.of_administrator() == {
        "/proc/sys/fs/binfmt_misc", "/var/lib/kubelet/pods", "/", "/mnt/with space",
    }  # fmt: skip
