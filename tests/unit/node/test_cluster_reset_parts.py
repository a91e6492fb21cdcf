"""What a reset finds out and ends: the version of Kubernetes in etcd, and the control plane's processes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.lean.etcd import Etcd
from rke2_units.machine.processes import Process
from rke2_units.node.cluster_reset import kubernetes_version, static_pods
from tests.unit.fake_pods import add_pod
from tests.unit.node.cluster_reset_machine import node_object
from tests.unit.program_values import make_settings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (node_object("v1.20.2+rke2r1"), ["v1.20.2+rke2r1"]),
        # Since 1.33 the version of kube-proxy behind it is empty.
        (":\x0ev1.36.4+rke2r1B\x00J\x05linux", ["v1.36.4+rke2r1"]),
        (":\x07v1.30.0B\x07v1.30.0", ["v1.30.0"]),
        ('{"nodeInfo":{"kubeletVersion":"v1.31.2-rc.1"}}', ["v1.31.2-rc.1"]),
        # Images, annotations, and what is cut off.
        ("docker.io/rancher/hardened-kubernetes:v1.20.2-rke2r1", []),
        (":\x0ev1.20.2", []),
        (":\x07v1.30.0C", []),
        (":\ufffdv1.30.0B", []),
        ("", []),
    ],
)
def test_a_node_says_its_kubelets_version(text: str, found: list[str]) -> None:
    assert list(kubernetes_version.versions(text)) == found


class Nodes(Etcd):
    def __init__(self, versions: list[str]) -> None:
        super().__init__("etcdctl", [])
        self._found = {f"/registry/minions/{n:04}": node_object(text) for n, text in enumerate(versions)}
        self.asked = 0

    def range(self, start: str, end: str, limit: int) -> list[tuple[str, str]]:
        self.asked += 1
        return [(key, text) for key, text in self._found.items() if start <= key < end][:limit]


def test_the_newest_of_all_nodes_counts_however_many_there_are() -> None:
    nodes = Nodes(["v1.9.1"] * 250 + ["v1.10.0"])
    assert kubernetes_version.newest(nodes) == "v1.10.0"
    assert nodes.asked <= 4
    assert kubernetes_version.newest(Nodes([])) == ""


class Pods:
    """Bundles of pods below a folder, and processes whose cgroups are named after their containers."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = make_settings(root)
        self.paths = Paths(str(root))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        monkeypatch.setattr(static_pods, "read_processes", self.read)

    def run(self, component: str, command: str = "exec sleep 600") -> None:
        add_pod(self.settings, component, "uid")
        process = subprocess.Popen(["sh", "-c", f"{command}\n"], stdout=subprocess.PIPE)
        self.running[f"container-{component}-uid"] = process

    def read(self) -> dict[int, Process]:
        return {
            process.pid: Process(process.pid, 1, "x", "/x", f"0::/kubepods/pod1/{name}\n")
            for name, process in self.running.items()
            if process.poll() is None
        }


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    made = Pods(tmp_path, monkeypatch)
    yield made
    for process in made.running.values():
        process.kill()
        process.communicate()


def test_the_control_plane_ends_and_other_pods_live_on(pods: Pods) -> None:
    for component in ("etcd", "kube-apiserver", "kube-proxy", "canal"):
        pods.run(component)
        manifest = Path(pods.paths.manifest(component))
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.touch()
    lines = list(static_pods.end(pods.paths, pods.settings))
    assert lines == ["ended the pods etcd, kube-apiserver"]
    running = [name for name, process in pods.running.items() if process.poll() is None]
    assert running == ["container-kube-proxy-uid", "container-canal-uid"]
    assert sorted(path.name for path in Path(pods.paths.pod_manifests).iterdir()) == [
        *("canal.yaml", "kube-proxy.yaml")
    ]
    # Their bundles are still there: containerd does not run.
    assert list(static_pods.end(pods.paths, pods.settings)) == []


def test_who_does_not_end_by_itself_is_killed(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods.run("etcd", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    output = pods.running["container-etcd-uid"].stdout
    assert output is not None and output.readline()
    monkeypatch.setattr(static_pods, "_GRACE", 0.5)
    assert list(static_pods.end(pods.paths, pods.settings)) == ["ended the pods etcd"]


def test_who_cannot_be_killed_is_named(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods.run("etcd")
    pid = pods.running["container-etcd-uid"].pid
    monkeypatch.setattr(static_pods, "_GRACE", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", lambda pid, number: None)
        with pytest.raises(UserError, match=f"SIGKILL does not end these processes.*PID {pid}"):
            list(static_pods.end(pods.paths, pods.settings))
