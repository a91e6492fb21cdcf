"""A node whose etcd is a script, its settings of snapshots, and stand-ins for the cluster and for S3."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError
from rke2_units.snapshots import retention
from rke2_units.snapshots.operations import Operations
from rke2_units.snapshots.request import Answer, parse
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.snapshots.settings import Settings
from rke2_units.snapshots.snapshot import Snapshot

NODE = "server-0"
# As etcdctl writes it: FILE.part, which is renamed.
_ETCDCTL = """#!/bin/sh
cd "$(dirname "$0")"
for last; do :; done
echo "$*" >>asked
if [ -e down ]; then echo "Error: context deadline exceeded" >&2; exit 1; fi
case "$*" in
  *"endpoint status"*) cat status ;;
  *"snapshot save"*)
    : >"$last.part"
    if [ -e begun ]; then echo >begun; cat wait >/dev/null; fi
    cat database >>"$last.part" || exit 5
    if [ -e full ]; then echo "Error: write $last.part: no space left on device" >&2; exit 5; fi
    mv "$last.part" "$last" ;;
esac
"""


def database(size: int = 1 << 16) -> bytes:
    """What looks like a snapshot of etcd: pages and their SHA-256. The content of a page does not repeat."""
    page = bytes(16) + b"\xed\xda\x0c\xed" + bytes(size % 512 or 512)
    pages = page + b"".join(hashlib.sha256(bytes([n % 256])).digest() for n in range(size // 32))
    pages = pages[: size - size % 512]
    return pages + hashlib.sha256(pages).digest()


class SnapshotNode:
    """A node below `folder`, as far as snapshots know it. No Kubernetes API listens unless `url` has one."""

    def __init__(self, folder: Path, *, url: str = "http://127.0.0.1:9") -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.db = folder / "server" / "db"
        self.snapshots = self.db / "snapshots"
        self.metadata = self.db / ".metadata"
        self.records = self.db / "snapshot-records.json"
        self.db.mkdir(parents=True, exist_ok=True)
        self.etcd = folder / "etcd"
        self.etcd.mkdir(exist_ok=True)
        self.etcdctl = self.etcd / "etcdctl"
        self.etcdctl.write_text(_ETCDCTL)
        self.etcdctl.chmod(0o755)
        self.content = database()
        (self.etcd / "database").write_bytes(self.content)
        self.has_status()
        (folder / "token").write_text(f"K10{'0' * 64}::server:secret\n")
        self.file = folder / "settings.json"
        self.values: dict[str, Any] = {
            "node_name": NODE,
            "etcd": {
                "etcdctl": str(self.etcdctl),
                "etcdutl": "",
                "program": "/nowhere/etcd",
                "endpoints": ["https://127.0.0.1:2379"],
                "authority": "ca",
                "certificate": "crt",
                "key": "key",
            },
            "kubernetes": {"url": url, "authority": "", "certificate": "", "key": ""},
            "token_file": str(folder / "token"),
            "directory": str(self.snapshots),
            "is_own_directory": True,
            "base_name": "etcd-snapshot",
            "retention": "5",
            "compress": False,
            "verify": False,
            "records": str(self.records),
        }

    def has_status(self, **more: object) -> None:
        """What etcdctl says of the member."""
        status = {"dbSize": len(self.content), "raftAppliedIndex": 7, **more}
        (self.etcd / "status").write_text(json.dumps([{"Endpoint": "https://a", "Status": status}]))

    def settings(self, **changed: object) -> Settings:
        self.file.write_text(json.dumps(self.values | changed))
        return Settings(str(self.file))

    def operations(self, say: Callable[[str], None] = lambda text: None, **changed: object) -> Operations:
        return self.stack.enter_context(Operations(self.settings(**changed), say))

    def ask(self, operation: str, **values: object) -> Answer:
        """What becomes of a request."""
        return self.operations().run(parse(json.dumps({"operation": operation, **values})))

    def put(self, name: str, content: bytes | None = None) -> Path:
        """A file among the snapshots; a good one without `content`."""
        self.snapshots.mkdir(mode=0o700, exist_ok=True)
        path = self.snapshots / name
        path.write_bytes(self.content if content is None else content)
        return path

    def files(self) -> list[str]:
        """All that lies in the folder of snapshots and beside it, but for locks and records."""
        found = [
            path
            for folder in (self.snapshots, self.metadata)
            if folder.exists()
            for path in folder.iterdir()
        ]
        found += [
            path for path in self.db.iterdir() if path.is_file() and not path.name.startswith("snapshot-")
        ]
        return sorted(str(path.relative_to(self.db)) for path in found)

    def names(self) -> list[str]:
        """What lies in the folder of snapshots."""
        return sorted(os.listdir(self.snapshots)) if self.snapshots.exists() else []


@dataclass
class Cluster:
    """Takes the place of what writes to the Kubernetes API."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def reconcile(self, client: Client, found: Sequence[Snapshot], **more: Any) -> bool:
        self.calls.append({"found": {snapshot.key: snapshot for snapshot in found}, **more})
        return True

    @property
    def last(self) -> dict[str, Any]:
        return self.calls[-1]


class Bucket:
    """Takes the place of S3: a folder of this machine, for all configurations."""

    # By name.
    objects: dict[str, Snapshot] = {}
    opened: int = 0
    # What an operation of this name fails with.
    broken: dict[str, str] = {}

    def __init__(self, config: S3Config) -> None:
        self._config = config

    def __enter__(self) -> "Bucket":
        type(self).opened += 1
        self._may("open")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def list(self, prefix: str = "") -> list[Snapshot]:
        self._may("list")
        return [one for name, one in self.objects.items() if name.startswith(prefix)]

    def upload(
        self, path: str, snapshot: Snapshot, cluster_id: str, progress: Callable[[int], None]
    ) -> Snapshot:
        self._may("upload")
        progress(os.path.getsize(path))
        uploaded = replace(snapshot, location=f"s3://bucket/{snapshot.name}", s3={"bucket": "bucket"})
        self.objects[snapshot.name] = uploaded
        return uploaded

    def expired(self, base: str, cluster_id: str) -> Sequence[Snapshot]:
        """Of no cluster: there is no API that would know it."""
        return retention.expired(self.list(base), base, self._config.retention)

    def delete(self, name: str) -> bool:
        self._may("delete")
        return self.objects.pop(name, None) is not None

    def _may(self, operation: str) -> None:
        if operation in self.broken:
            raise UserError(self.broken[operation])


@dataclass(frozen=True)
class Verification:
    name: str
    time: object
    ok: bool
    message: str


@dataclass
class Result:
    """What verifying says."""

    values: dict[str, object]

    def as_object(self) -> dict[str, object]:
        return self.values


@dataclass
class Verifier:
    result: dict[str, object] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def verify(self, path: str, settings: Settings, say: Callable[[str], None], *, live: bool) -> Result:
        assert live
        self.paths.append(path)
        values = {
            "name": os.path.basename(path),
            "time": "2026-01-01T00:00:00+00:00",
            "ok": True,
            "message": "fine",
        }
        return Result({**values, "keys": 3, **self.result})


def listing(snapshots: Collection[Snapshot]) -> dict[str, object]:
    return {"items": sorted(snapshot.key for snapshot in snapshots)}


def stand_ins(cluster: Cluster, bucket: type[Bucket], verifier: Verifier) -> dict[str, ModuleType]:
    """The modules that talk to others, by name: for sys.modules."""
    members: dict[str, dict[str, object]] = {
        "objects": {"listing": listing, "Verification": Verification},
        "reconcile": {"reconcile": cluster.reconcile},
        "bucket": {"Bucket": bucket},
        "verify": {"verify": verifier.verify},
    }
    found = {}
    for name, values in members.items():
        module = ModuleType(f"rke2_units.snapshots.{name}")
        vars(module).update(values)
        found[module.__name__] = module
    return found


def install() -> None:
    """For a process that is a test's child."""
    sys.modules.update(stand_ins(Cluster(), Bucket, Verifier()))
