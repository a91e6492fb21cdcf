"""Snapshots as the cluster knows them: ETCDSnapshotFiles, and the entries of a ConfigMap (RKE2's). Pure."""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rke2_units import printable
from rke2_units.snapshots import names
from rke2_units.snapshots.snapshot import S3, Snapshot

Object = dict[str, Any]

COLLECTION = "/apis/k3s.cattle.io/v1/etcdsnapshotfiles"
API_VERSION, KIND = "k3s.cattle.io/v1", "ETCDSnapshotFile"
# Where the snapshot lies: a node's name, or S3.
STORAGE_LABEL = "etcd.rke2.cattle.io/snapshot-storage-node"
TOKEN_HASH_ANNOTATION = "etcd.rke2.cattle.io/snapshot-token-hash"
# An object stays until the controllers have seen that it is being deleted.
FINALIZER = "wrangler.cattle.io/managed-etcd-snapshots-controller"
# The condition that no other distribution has: whether the snapshot could be restored.
VERIFIED = "Verified"
CONFIG_MAP = "rke2-etcd-snapshots"

# The API's limits for the name of an object, and for a key of a ConfigMap.
_LONGEST_NAME = 253
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NOT_IN_A_KEY = re.compile(r"[^-._a-zA-Z0-9]")
# "local-" before a name, and behind it "-" and six hex digits.
_AROUND_A_NAME = 13
# S3's limit for a key; file names are shorter.
_LONGEST_FILE_NAME, _LONGEST_LOCATION = 1024, 4096
_LONGEST_TOKEN_HASH = 64
_LONGEST_MESSAGE = 1024
# As much as a ConfigMap can hold, out of which the metadata are read: characters of JSON.
_LARGEST_METADATA = 1 << 20
# Objects that are made for one place. A bucket may hold any number of files.
_MOST = 1000
# Below the API's limit for a ConfigMap, 1 MiB: characters of all keys and values.
_LARGEST_CONFIG_MAP = 1_000_000
_QUANTITY = re.compile(r"([0-9]{1,18})([kMGTPE]|[KMGTPE]i)?")
_FACTORS = {
    "": 1,
    **{prefix: 1000**power for power, prefix in enumerate("kMGTPE", 1)},
    **{f"{prefix}i": 1024**power for power, prefix in enumerate("KMGTPE", 1)},
}


@dataclass(frozen=True)
class Verification:
    """The result of verifying the snapshot `name`, a file of this node; `message` says what was found."""

    name: str
    time: datetime
    ok: bool
    message: str


def key(snapshot: Snapshot) -> str:
    """Its name in the ConfigMap and in lists: unique on a node, and without characters of its own."""
    return _NOT_IN_A_KEY.sub("_", snapshot.key)


def storage(snapshot: Snapshot) -> str:
    """The label's value."""
    return snapshot.node if snapshot.s3 is None else S3


def object_name(snapshot: Snapshot) -> str:
    """RKE2's name of the object. A file name that cannot be part of it is replaced by node and time."""
    middle = snapshot.name.lower()
    compressed = names.ZIP if snapshot.name.endswith(names.ZIP) else ""
    seconds = int(snapshot.created.timestamp())
    if not _is_subdomain(middle):
        middle = f"{names.SCHEDULED}-{snapshot.node.partition('.')[0]}-{seconds}{compressed}"
    if not _is_subdomain(middle):
        # RKE2 fails here; the name of a node in S3 may be anything.
        middle = f"{names.SCHEDULED}-{seconds}{compressed}"
    digest = hashlib.sha256(f"{snapshot.node}{snapshot.location}".encode(errors="replace")).hexdigest()
    return f"{'local' if snapshot.s3 is None else S3}-{middle}-{digest[:6]}"


def to_object(snapshot: Snapshot, verification: Verification | None = None) -> Object:
    """The ETCDSnapshotFile, as it is created."""
    obj = _described(snapshot, object_name(snapshot))
    obj["metadata"]["finalizers"] = [FINALIZER]
    if verification is not None:
        obj["status"]["conditions"] = [condition(verification)]
    return obj


def listing(snapshots: Iterable[Snapshot]) -> Object:
    """The answer to a request for a list: ETCDSnapshotFiles, named by their keys, the oldest first."""
    ordered = sorted(snapshots, key=lambda snapshot: (snapshot.created, snapshot.name, snapshot.key))
    items = [_described(snapshot, key(snapshot)) for snapshot in ordered]
    return {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}


def _described(snapshot: Snapshot, name: str) -> Object:
    metadata: Object = {"name": name, "labels": {STORAGE_LABEL: storage(snapshot)}}
    if snapshot.token_hash:
        metadata["annotations"] = {TOKEN_HASH_ANNOTATION: snapshot.token_hash}
    spec: Object = {
        "snapshotName": snapshot.name,
        "nodeName": snapshot.node,
        "location": snapshot.location,
    }
    if snapshot.metadata:
        spec["metadata"] = dict(snapshot.metadata)
    if snapshot.s3 is not None:
        spec["s3"] = dict(snapshot.s3)
    created = time_text(snapshot.created)
    status: Object = {
        "size": str(snapshot.size),
        "creationTime": created,
        "readyToUse": not snapshot.error,
    }
    if snapshot.error:
        status["error"] = {"time": created, "message": snapshot.error}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec, "status": status}


def of_object(obj: Object) -> Snapshot:
    """The snapshot that an ETCDSnapshotFile describes; of a failed one, `created` is when it failed."""
    metadata, spec, status = (_table(obj.get(part)) for part in ("metadata", "spec", "status"))
    error = status.get("error")
    message = ""
    created = time_of(status.get("creationTime"))
    if isinstance(error, dict):
        message = str(error.get("message") or "etcd snapshot failed")
        created = time_of(error.get("time")) or created
    annotations = _table(metadata.get("annotations"))
    return Snapshot(
        name=str(spec.get("snapshotName", "")),
        node=str(spec.get("nodeName", "")),
        location=str(spec.get("location", "")),
        size=size_of(status.get("size")),
        created=created or time_of(metadata.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        metadata={str(name): str(value) for name, value in _table(spec.get("metadata")).items()},
        token_hash=str(annotations.get(TOKEN_HASH_ANNOTATION, "")),
        s3=_table(spec["s3"]) if spec.get("s3") is not None else None,
        error=message,
    )


def recordable(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Those that get an object, the oldest first: at most the newest 1000 of each kind, and of what others
    wrote (in S3) only what is printable and short enough for the API."""
    kept: dict[bool, list[Snapshot]] = {False: [], True: []}
    for snapshot in snapshots:
        if _is_short_line(snapshot.name, _LONGEST_FILE_NAME) and _is_short_line(
            snapshot.location, _LONGEST_LOCATION
        ):
            kept[snapshot.s3 is not None].append(snapshot)
    ordered = [
        sorted(each, key=lambda snapshot: (snapshot.created, snapshot.name)) for each in kept.values()
    ]
    return [_cleaned(snapshot) for each in ordered for snapshot in each[-_MOST:]]


def _cleaned(snapshot: Snapshot) -> Snapshot:
    size = len(json.dumps(dict(snapshot.metadata)))
    return replace(
        snapshot,
        # RKE2's word for an object in S3 that does not say which node made it.
        node=printable.line(snapshot.node)[:_LONGEST_NAME] or S3,
        metadata=snapshot.metadata if size <= _LARGEST_METADATA else {},
        token_hash=printable.line(snapshot.token_hash)[:_LONGEST_TOKEN_HASH],
        error=printable.line(snapshot.error)[:_LONGEST_MESSAGE],
    )


def condition(verification: Verification) -> Object:
    """The condition that says whether the snapshot can be restored, and since when that is known."""
    return {
        "type": VERIFIED,
        "status": "True" if verification.ok else "False",
        "reason": "VerificationSucceeded" if verification.ok else "VerificationFailed",
        "message": printable.line(verification.message)[:_LONGEST_MESSAGE],
        "lastTransitionTime": time_text(verification.time),
    }


def conditions_with(obj: Object, verification: Verification) -> list[Object] | None:
    """The object's conditions with this result among them; None if they have it already."""
    present = _table(obj.get("status")).get("conditions")
    present = present if isinstance(present, list) else []
    wanted = condition(verification)
    if wanted in present:
        return None
    return [*(each for each in present if _table(each).get("type") != VERIFIED), wanted]


def entries(snapshots: Iterable[Snapshot]) -> dict[str, str]:
    """The ConfigMap's data: snapshots with metadata, without the oldest if they would be too much."""
    kept: list[tuple[datetime, str, str]] = []
    newest_left_out = (datetime.min.replace(tzinfo=UTC), "", "")
    size = 0
    for snapshot in snapshots:
        entry = snapshot.created, key(snapshot), _entry(snapshot)
        if not snapshot.metadata or not _fits(entry) or entry <= newest_left_out:
            continue
        heapq.heappush(kept, entry)
        size += _size(entry)
        while size > _LARGEST_CONFIG_MAP:
            newest_left_out = heapq.heappop(kept)
            size -= _size(newest_left_out)
    return {name: value for _, name, value in kept}


def _size(entry: tuple[datetime, str, str]) -> int:
    return len(entry[1]) + len(entry[2])


def _fits(entry: tuple[datetime, str, str]) -> bool:
    """Whether the API takes the key, and the entry if it is the only one."""
    return len(entry[1]) <= _LONGEST_NAME and _size(entry) <= _LARGEST_CONFIG_MAP


def config_map(data: dict[str, str]) -> Object:
    """The ConfigMap with these entries, as it is created."""
    metadata = {"name": CONFIG_MAP, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def is_entry(name: str) -> bool:
    """Whether a key of the ConfigMap is that of a snapshot."""
    return name.startswith(("local-", f"{S3}-"))


def _entry(snapshot: Snapshot) -> str:
    """The value of an entry, which Rancher reads. Like RKE2, without fields that are empty."""
    metadata = json.dumps(dict(snapshot.metadata), separators=(",", ":"), sort_keys=True)
    fields = {
        "name": snapshot.name,
        "location": snapshot.location,
        "metadata": _base64(metadata),
        "message": _base64(snapshot.error),
        "nodeName": storage(snapshot),
        "createdAt": time_text(snapshot.created),
        "size": snapshot.size,
        "status": "failed" if snapshot.error else "successful",
        "s3Config": _s3_config(snapshot.s3 or {}),
    }
    return json.dumps(
        {
            **{name: value for name, value in fields.items() if value},
            "compressed": snapshot.name.endswith(names.ZIP),
        },
        separators=(",", ":"),
    )


def _s3_config(s3: Mapping[str, object]) -> Object:
    found = {
        "endpoint": s3.get("endpoint"),
        "endpointCA": s3.get("endpointCA"),
        "skipSSLVerify": s3.get("skipSSLVerify"),
        "bucket": s3.get("bucket"),
        "bucketLookup": s3.get("bucketLookup"),
        "region": s3.get("region"),
        "folder": s3.get("prefix"),
        "insecure": s3.get("insecure"),
    }
    return {name: value for name, value in found.items() if value}


def time_text(time: datetime) -> str:
    """RFC 3339, in seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: object) -> datetime | None:
    """The time of an object's field; None for what is no time."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    if not 1970 <= time.year < 3000:
        return None  # where one cannot calculate
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def size_of(quantity: object) -> int:
    """The bytes of a quantity, as RKE2 writes it ("5M" for 5,000,000); 0 for what is none."""
    found = _QUANTITY.fullmatch(str(quantity))
    return int(found[1]) * _FACTORS[found[2] or ""] if found else 0


def _is_subdomain(middle: str) -> bool:
    """Whether the name of an object can be made from it."""
    return len(middle) + _AROUND_A_NAME <= _LONGEST_NAME and bool(_SUBDOMAIN.fullmatch(middle))


def _is_short_line(text: str, longest: int) -> bool:
    return len(text) <= longest and text.isprintable()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="replace")).decode()


def _table(value: object) -> Object:
    return value if isinstance(value, dict) else {}
