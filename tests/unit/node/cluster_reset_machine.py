"""A machine whose cluster is reset: real folders and key material, with stand-ins for etcd's programs."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import pytest

from rke2_units.certificates import bootstrap
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.node_request import make_request
from rke2_units.certificates.request import Request as Material
from rke2_units.layout import BOOTSTRAP_FILES
from rke2_units.lean.etcd import Etcd, Member, Value
from rke2_units.node import installation
from rke2_units.node.cluster_reset import copies, new_data, request, reset
from rke2_units.node.cluster_reset.reset import Reset
from rke2_units.plan.node import Node
from rke2_units.snapshots import restore
from tests.unit.plan.cases import make_node
from tests.unit.program_values import settings_values

PASSWORD = "the cluster's password"
STAMP = 1754906881
VERSION = "v1.20.2+rke2r1"


def node_of(data: Path, name: str, address: str, **values: object) -> Node:
    given = {"data-dir": str(data), "node-name": name, "node-ip": address, "token": PASSWORD, **values}
    return make_node({"write-kubeconfig": f"{data}/rke2.yaml", **given})


def material(node: Node) -> Material:
    return replace(make_request(node), node_directory=f"{node.paths.data}/node")


def start(node: Node) -> list[str]:
    """What the next start does with the node's key material; the paths that it writes."""
    return ensure(material(node), datetime.now(UTC))


def node_object(version: str) -> str:
    """Of a Node in protobuf as much as names its version."""
    length = chr(len(version))
    return f"k8s\0\n\x07v1\x12\x04Node2\x16containerd://1.4.3-k3s1:{length}{version}B{length}{version}J\x05linux"


class FakeEtcd(Etcd):
    """Keys and one member in a file of the data folder."""

    def __init__(self, folder: str) -> None:
        super().__init__("etcdctl", [])
        self.file = Path(folder, "member/snap/db")

    def read(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.file.read_bytes())
        return found

    def write_all(self, values: Mapping[str, str]) -> None:
        for folder in ("snap", "wal"):
            (self.file.parents[1] / folder).mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(values))

    def get(self, key: str) -> Value | None:
        text = self.read().get(key)
        return None if text is None else Value(text, 1)

    def put(self, key: str, text: str) -> None:
        self.write_all(self.read() | {key: text})

    def delete(self, key: str) -> None:
        self.write_all({name: text for name, text in self.read().items() if name != key})

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.read() if key.startswith(prefix)]

    def range(self, start: str, end: str, limit: int) -> list[tuple[str, str]]:
        return sorted((key, text) for key, text in self.read().items() if start <= key < end)[:limit]

    def members(self) -> list[Member]:
        return [Member(7, "", (self.read()["peer url"],), (), is_learner=False)]

    def move(self, identifier: int, peer_url: str) -> None:
        assert identifier == 7
        self.put("peer url", peer_url)


class FakeThrowaway:
    """Opens a folder as ThrowawayEtcd does; `forced` has those of which a new cluster was forced."""

    forced: list[str] = []

    def __init__(self, folder: str, *, force_new_cluster: bool, **_: object) -> None:
        self.etcd = FakeEtcd(folder)
        if force_new_cluster:
            self.forced.append(folder)

    def __enter__(self) -> "FakeThrowaway":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Cluster:
    """The cluster that was: its key material, and what is in its etcd."""

    def __init__(self, root: Path) -> None:
        self.node = node_of(root / "lost", "lost", "192.0.2.1")
        start(self.node)
        self.files = {
            name: Path(self.node.paths.server, place).read_bytes() for name, place in BOOTSTRAP_FILES.items()
        }
        self.contents = self.of(self.files)

    def of(self, files: Mapping[str, bytes], version: str = VERSION) -> dict[str, str]:
        return {
            bootstrap.key(PASSWORD): bootstrap.seal(PASSWORD, bootstrap.pack(files, datetime.now(UTC))),
            "rke2/apiaddresses": '["192.0.2.1:6443"]',
            "/registry/minions/lost": node_object(version),
            "/registry/secrets/kube-system/lost.node-password.rke2": "hash",
            "/registry/secrets/kube-system/found.node-password.rke2": "hash",
            "/registry/pods/default/a": "a pod",
            "peer url": "https://192.0.2.1:2380",
        }


class Machine:
    """The server that is reset."""

    def __init__(self, root: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.cluster = cluster
        self.node = self.configured()
        self.paths = self.node.paths
        self.snapshot = root / "on-demand-lost-1754900000"
        self.snapshot.write_text(json.dumps(cluster.contents))
        self.apart = False
        os.makedirs(self.paths.agent_etc)
        values = settings_values(Path(self.paths.data))
        table = {"image": "rancher/hardened-etcd:v3", "directory": "etcdctl-0123"}
        values |= {"node_name": "found", "etcdctl": table}
        Path(self.paths.program_settings).write_text(json.dumps(values))
        programs = Path(self.paths.content, "etcdctl-0123")
        programs.mkdir(parents=True)
        for name in ("etcd", "etcdctl"):
            (programs / name).touch()
        FakeThrowaway.forced = []
        monkeypatch.setattr(new_data, "ThrowawayEtcd", FakeThrowaway)
        monkeypatch.setattr(restore, "restore", self._restore)
        # A disk that is busy with other tests takes seconds for it.
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        monkeypatch.setattr(copies, "synchronise", lambda folder: None)
        monkeypatch.setattr(installation, "lock", _unlocked)
        monkeypatch.setattr(reset, "refuse_running", lambda: None)
        monkeypatch.setattr(
            "rke2_units.node.cluster_reset.places.read_mount_points",
            lambda: [os.path.realpath(self.paths.etcd_data)] if self.apart else [],
        )

    def configured(self, **values: object) -> Node:
        return node_of(self.root / "data", "found", "192.0.2.9", **values)

    def had_a_cluster(self, **values: str) -> None:
        """It was a server before, of the cluster of `values` in etcd or of another one."""
        start(self.node)
        contents = values or {"of another": "cluster", "peer url": "https://192.0.2.2:2380"}
        FakeEtcd(self.paths.etcd_data).write_all(contents)

    def _restore(self, snapshot: str, target: str, *, peer_url: str, **_: object) -> None:
        contents = json.loads(Path(snapshot).read_text())
        FakeEtcd(target).write_all(contents | {"peer url": peer_url})

    def reset(self, snapshot: str | None = None, token: str = PASSWORD, stamp: int = STAMP) -> Reset:
        given = str(self.snapshot) if snapshot is None else snapshot
        return Reset(self.node, request.make(self.node.config, given, token, None), stamp)

    @property
    def data(self) -> dict[str, str]:
        return FakeEtcd(self.paths.etcd_data).read()

    def everything(self) -> dict[str, bytes]:
        """All files below the data directory."""
        found = (path for path in Path(self.paths.data).rglob("*") if path.is_file())
        return {str(path.relative_to(self.paths.data)): path.read_bytes() for path in found}


@contextmanager
def _unlocked(root: str = "/") -> Iterator[None]:
    yield
