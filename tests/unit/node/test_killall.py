"""killall and uninstall leave alone what may be another's."""

import os
from pathlib import Path

import pytest

from rke2_units import names
from rke2_units.errors import UserError
from rke2_units.names import Paths, Role
from rke2_units.node import installation, killall, mounts, uninstall
from rke2_units.node.installation import Installation
from rke2_units.node.processes import Process

HERE = Installation(Role.SERVER, "v1.36.4+rke2r1", "/var/lib/rancher/rke2")


def process(pid: int, name: str, executable: str, cgroups: str) -> dict[int, Process]:
    return {pid: Process(pid, 1, name, executable, cgroups)}


POD = process(7, "pause", "/pause", "0::/kubepods/besteffort/pod1/abc")
K3S = process(8, "k3s-server", "/var/lib/rancher/k3s/data/x/bin/k3s", "0::/system.slice/k3s.service")
OURS = process(9, "containerd", f"{os.path.realpath(Paths().content)}/v1/bin/containerd", "0::/")


@pytest.mark.parametrize(
    ("installed", "running", "refused"),
    [
        (None, POD | K3S, True),
        (None, K3S, False),
        (None, POD | OURS, False),
        (HERE, POD | K3S, False),
    ],
)
def test_pods_of_another_kubernetes_are_not_ended_where_no_node_is_installed(
    installed: Installation | None,
    running: dict[int, Process],
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ending(Exception):
        """The first thing that is done."""

    def stop_units() -> None:
        raise Ending

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "read", lambda root="/": installed)
    monkeypatch.setattr(killall, "read_processes", lambda: running)
    monkeypatch.setattr(killall, "_stop_units", stop_units)
    with pytest.raises(UserError if refused else Ending) as raised:
        list(killall.kill_all())
    if refused:
        assert "no node of rke2-units is installed, and pods run here: pause (PID 7)" in str(raised.value)


def test_nothing_is_removed_while_something_is_mounted_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kubelet/plugins/volume").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "read", lambda root="/": HERE)
    monkeypatch.setattr(uninstall, "kill_all", lambda: iter(()))
    monkeypatch.setattr(uninstall, "removals", lambda purge: [f"{tmp_path}/other", f"{tmp_path}/kubelet"])
    monkeypatch.setattr(mounts, "read_mount_points", lambda: ["/", f"{tmp_path}/kubelet/plugins/volume"])
    with pytest.raises(UserError, match="volume is still mounted; nothing was removed"):
        list(uninstall.uninstall(purge_data=True))
    assert (tmp_path / "kubelet").exists()


def test_what_is_mounted_for_volumes_beside_pods_goes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os.path, "realpath", lambda path: {names.KUBELET_DIRECTORY: "/srv/kubelet"}.get(path, path)
    )
    assert killall._folders_of_mounts() == ["/run/k3s/", "/srv/kubelet/"]
