"""Snapshots for tests, and an API that keeps ETCDSnapshotFiles as the real one does."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from rke2_units.snapshots import definition, objects
from rke2_units.snapshots.snapshot import Snapshot
from tests.unit.kubernetes_api import Object, Reply, Request, Store, refused

DEFINITION = f"{definition.DEFINITIONS}/{definition.NAME}"
# 2025-08-11, in names of snapshots.
SECONDS = 1754906881
S3_PLACE = {"endpoint": "s3.example.org", "bucket": "backups", "prefix": "prod", "region": "eu-1"}


def ago(**units: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(**units)


def local(node: str = "node1", seconds: int = SECONDS, **values: Any) -> Snapshot:
    """A snapshot in the folder of a node."""
    name = values.pop("name", f"etcd-snapshot-{node}-{seconds}")
    given = {
        "location": f"file:///snapshots/{name}",
        "size": 4096,
        "created": datetime.fromtimestamp(seconds, UTC),
    }
    return Snapshot(name, node, **{**given, **values})


def in_s3(node: str = "node1", seconds: int = SECONDS, **values: Any) -> Snapshot:
    name = values.get("name", f"etcd-snapshot-{node}-{seconds}")
    given = {"location": f"s3://backups/prod/{name}", "s3": S3_PLACE}
    return local(node, seconds, **{**given, **values})


class SnapshotStore(Store):
    """ETCDSnapshotFiles once they are defined: lists in pages and by label, ages, and finalizers."""

    def __init__(self) -> None:
        super().__init__()
        self.serves = True

    def define(self) -> None:
        self.put(DEFINITION, definition.definition())

    def add(self, snapshot: Snapshot, *, age: timedelta = timedelta(hours=1), **metadata: Any) -> str:
        """The object of a snapshot that is that old; returns its name."""
        obj = objects.to_object(snapshot)
        created = objects.time_text(datetime.now(UTC) - age)
        obj["metadata"] = {**obj["metadata"], "creationTimestamp": created, **metadata}
        self.put(f"{objects.COLLECTION}/{obj['metadata']['name']}", obj)
        name: str = obj["metadata"]["name"]
        return name

    def file(self, name: str) -> Object:
        found: Object = self.objects[f"{objects.COLLECTION}/{name}"]
        return found

    def files(self) -> set[str]:
        return {
            path.rpartition("/")[2] for path in self.objects if path.startswith(f"{objects.COLLECTION}/")
        }

    def __call__(self, request: Request) -> Reply:
        if not request.path.startswith(objects.COLLECTION):
            return super().__call__(request)
        if DEFINITION not in self.objects or not self.serves:
            return refused(404, "NotFound", "the server could not find the requested resource")
        if request.path == objects.COLLECTION and request.method == "GET":
            return self._page(request)
        if request.method == "POST":
            stamp = {"creationTimestamp": objects.time_text(datetime.now(UTC)), "uid": "u"}
            obj = {**request.body, "metadata": {**request.body["metadata"], **stamp}}
            reply = super().__call__(Request("POST", request.path, {}, {}, obj, 0))
        elif request.method == "DELETE" and self.objects.get(request.path, {}).get("metadata", {}).get(
            "finalizers"
        ):
            reply = Reply(body=self.terminate(request.path))
        else:
            reply = super().__call__(request)
        metadata = self.objects.get(request.path, {}).get("metadata", {})
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[request.path]
        return reply

    def terminate(self, path: str) -> Object:
        """Marks an object as being deleted."""
        obj = self.objects[path]
        stamp = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        return self.put(path, {**obj, "metadata": {**obj["metadata"], **stamp}})

    def _page(self, request: Request) -> Reply:
        found = [
            obj
            for path, obj in sorted(self.objects.items())
            if path.startswith(f"{objects.COLLECTION}/") and selects(request.query, obj)
        ]
        start, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        metadata = {"resourceVersion": str(self.version)}
        if len(found) > start + limit:
            metadata["continue"] = str(start + limit)
        head = {"apiVersion": objects.API_VERSION, "kind": f"{objects.KIND}List", "metadata": metadata}
        return Reply(body={**head, "items": found[start : start + limit]})


def selects(query: dict[str, str], obj: Object) -> bool:
    """Label selectors as they are used here: LABEL in (VALUE,…)."""
    if "labelSelector" not in query:
        return True
    wanted = re.fullmatch(r"(\S+) in \((.*)\)", query["labelSelector"])
    assert wanted is not None
    return (obj["metadata"].get("labels") or {}).get(wanted[1]) in wanted[2].split(",")
