"""The cluster's nodes, kept up to date by a watch, and the metadata that servers set on them (RKE2's)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from rke2_units import cluster_names
from rke2_units.doors.kubernetes import Client, Object, path_to

PATH = "/api/v1/nodes"
MANAGER = "rke2-controllers"
CONTROL_PLANE = cluster_names.CONTROL_PLANE_LABEL
ETCD = cluster_names.ETCD_LABEL
NODE_NAME = "etcd.rke2.cattle.io/node-name"
NODE_ADDRESS = cluster_names.ETCD_ADDRESS_ANNOTATION
REMOVE = cluster_names.ETCD_REMOVE_ANNOTATION
REMOVED = cluster_names.ETCD_REMOVED_ANNOTATION
# RKE2's finalizer for the same purpose: a node is not removed before its member is.
FINALIZER = "wrangler.cattle.io/managed-etcd-controller"
# The fields of a node's metadata that are used here.
_FIELDS = ("name", "uid", "labels", "annotations", "finalizers", "deletionTimestamp")
# How long (s) deleted nodes are remembered: long enough for another server to take the lease.
_REMEMBERED = 30.0


class Nodes:
    """The metadata of all nodes by name; `changed` is set at changes, `synced` once all are known."""

    def __init__(self, client: Client) -> None:
        self.changed = threading.Event()
        self.synced = threading.Event()
        self._client = client
        self._lock = threading.Lock()
        self._metadata: dict[str, Object] = {}
        self._gone: dict[str, float] = {}

    def follow(self, stop: threading.Event) -> None:
        """Watches the nodes until `stop` is set and the client closed. To be run in a thread."""
        for event in self._client.watch(PATH, stop=stop, metadata_only=True):
            if event.type == "SYNCED":
                self.synced.set()
                self.changed.set()
            else:
                self.note(event.type, event.object["metadata"])

    def note(self, kind: str, metadata: Object) -> None:
        """Takes in a change; `kind` is ADDED, MODIFIED or DELETED."""
        name = metadata["name"]
        with self._lock:
            if kind == "DELETED":
                before = self._metadata.pop(name, None)
                self._gone[name] = time.monotonic()
                now = None
            else:
                before = self._metadata.get(name)
                now = {field: metadata[field] for field in _FIELDS if field in metadata}
                self._metadata[name] = {**now, "resourceVersion": metadata["resourceVersion"]}
                self._gone.pop(name, None)
        # Ignore changes of the status only: kubelets write it all the time.
        if now is None or before is None or {**now, "resourceVersion": before["resourceVersion"]} != before:
            self.changed.set()

    def metadata(self) -> dict[str, Object]:
        with self._lock:
            return dict(self._metadata)

    def gone(self) -> set[str]:
        """Names of nodes that were deleted in the last 30 s."""
        with self._lock:
            end = time.monotonic() - _REMEMBERED
            self._gone = {name: moment for name, moment in self._gone.items() if moment > end}
            return set(self._gone)


def path(name: str) -> str:
    return path_to(PATH, name)


def own_metadata(
    member_name: str, address: str, annotations: Mapping[str, str], *, control_plane: bool = True
) -> dict[str, dict[str, str | None]]:
    """The labels and annotations of a server's node; None for those that it must not have.

    `member_name` is "" if no etcd runs: annotations of an earlier member are kept, since its removal depends
    on them. `annotations` are those that every node has.
    """
    member = {NODE_NAME: member_name, NODE_ADDRESS: address} if member_name else {}
    return {
        "labels": {CONTROL_PLANE: "true" if control_plane else None, ETCD: "true" if member_name else None},
        "annotations": {**member, **annotations},
    }


def missing(
    metadata: Object, wanted: Mapping[str, Mapping[str, str | None]]
) -> dict[str, dict[str, str | None]]:
    """The patch of the node's metadata that makes its labels and annotations as wanted."""
    patch = {}
    for field, values in wanted.items():
        present = metadata.get(field) or {}
        rest = {key: value for key, value in values.items() if present.get(key) != value}
        if rest:
            patch[field] = rest
    return patch


def voter_condition(name: str, is_voter: bool) -> Object:
    """The node object with the condition EtcdIsVoter, to be applied to its status."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {
        "type": "EtcdIsVoter",
        "status": "True" if is_voter else "False",
        "reason": "MemberNotLearner" if is_voter else "MemberIsLearner",
        "message": "Node is a voting member of the etcd cluster"
        if is_voter
        else "Node has not been promoted to voting member of the etcd cluster",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": [condition]},
    }
