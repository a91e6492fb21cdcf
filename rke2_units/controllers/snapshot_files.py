"""Looks after the ETCDSnapshotFiles of the whole cluster. Only the holder of the lease does that.

Servers create and delete the objects of their own snapshots (rke2_units.snapshots.reconcile). What remains
is done here: the definition of the kind, objects of nodes that are gone, the finalizer of deleted objects,
and the ConfigMap in which Rancher finds the snapshots that have metadata.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from rke2_units.controllers.nodes import ETCD, Nodes
from rke2_units.doors.kubernetes import ApiError, Client, Object, path_to
from rke2_units.snapshots import definition, objects, reconcile
from rke2_units.snapshots.snapshot import S3, Snapshot

_CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"
# Metadata of a snapshot can be large.
_PAGE = 10
# Seconds between full comparisons while nothing changes: as often as servers reconcile. It costs two
# requests, and repairs what no watch reports, like a deleted definition.
_FULL_INTERVAL = 600.0
# How long (s) a new definition may take until the API serves the kind.
_ESTABLISHED_WITHIN = 30.0


class SnapshotFiles:
    """The objects are listed after changes only, which a watch of their metadata tells of."""

    def __init__(self, client: Client, known: Nodes, held: threading.Event, node: str) -> None:
        self._client = client
        self._nodes = known
        self._held = held
        self._events = reconcile.events(client, node)
        self._changed = threading.Event()
        self._changed.set()
        # Set once the API serves the kind, or this process stops: there is nothing to watch before.
        self._served = threading.Event()
        self._next_full = 0.0
        # When (s, monotonic) this process saw to the definition; 0 if it has to.
        self._defined_at = 0.0
        self._etcd_nodes: frozenset[str] = frozenset()
        # A digest of the ConfigMap's data as they were written last.
        self._written: int | None = None

    def follow(self, stop: threading.Event) -> None:
        """Watches the objects until `stop` is set and the client closed. To be run in a thread."""
        self._served.wait()
        if not stop.is_set():
            for _ in self._client.watch(objects.COLLECTION, stop=stop, metadata_only=True):
                self._changed.set()

    def wake(self) -> None:
        """Ends the wait of `follow`, so that it sees that it shall stop."""
        self._served.set()

    def forget(self) -> None:
        """Forgets what is done: another server may hold the lease now and change it."""
        self._changed.set()
        self._defined_at = 0.0
        self._written = None

    def step(self, nodes_changed: bool) -> None:
        """Does what is left to do after a change. Raises UserError if it cannot, and then tries it again."""
        if nodes_changed or self._changed.is_set():
            self._find_etcd_nodes()
        if time.monotonic() >= self._next_full:
            self._written = None
        elif not self._changed.is_set():
            return
        self._changed.clear()
        done = False
        try:
            self._define()
            done = self._see_to_all()
        finally:
            if not done:
                self._changed.set()

    def _find_etcd_nodes(self) -> None:
        found = frozenset(
            name
            for name, metadata in self._nodes.metadata().items()
            if (metadata.get("labels") or {}).get(ETCD) == "true"
        )
        if found != self._etcd_nodes:
            self._etcd_nodes = found
            self._changed.set()

    def _define(self) -> None:
        """Creates the definition of the kind, or adds to RKE2's what it lacks."""
        if self._defined_at:
            return
        path = path_to(definition.DEFINITIONS, definition.NAME)
        try:
            patch = definition.update(self._client.get(path))
        except ApiError as error:
            if error.status != 404:
                raise
            self._client.create(definition.DEFINITIONS, definition.definition())
        else:
            if patch is not None:
                self._client.merge_patch(path, patch)
        self._defined_at = time.monotonic()

    def _see_to_all(self) -> bool:
        """False while the API does not serve the kind yet."""
        try:
            entries = objects.entries(self._see_to_objects())
        except ApiError as error:
            if error.status != 404:
                raise
            if time.monotonic() < self._defined_at + _ESTABLISHED_WITHIN:
                return False
            # Somebody has deleted the definition.
            self._defined_at = 0.0
            raise
        self._served.set()
        self._write(entries)
        self._next_full = time.monotonic() + _FULL_INTERVAL
        return True

    def _see_to_objects(self) -> Iterator[Snapshot]:
        """Releases and deletes objects; yields the snapshots of those that stay."""
        for obj in self._client.list(objects.COLLECTION, limit=_PAGE):
            metadata = obj["metadata"]
            storage = (metadata.get("labels") or {}).get(objects.STORAGE_LABEL)
            if "deletionTimestamp" in metadata:
                self._release(obj)
            # No known node: their labels were not set yet, since a cluster has at least one with etcd.
            elif storage != S3 and self._etcd_nodes and storage not in self._etcd_nodes:
                self._attempt(self._client.delete, obj)
            else:
                yield objects.of_object(obj)

    def _release(self, obj: Object) -> None:
        """Removes the finalizer from an object that is being deleted. The file of the snapshot stays."""
        metadata = obj["metadata"]
        finalizers = metadata.get("finalizers") or []
        if objects.FINALIZER not in finalizers:
            return
        rest = [each for each in finalizers if each != objects.FINALIZER]
        patch = {"metadata": {"finalizers": rest, "resourceVersion": metadata["resourceVersion"]}}
        if self._attempt(lambda path: self._client.merge_patch(path, patch), obj):
            snapshot = objects.of_object(obj)
            message = f"Snapshot {snapshot.name} deleted from {snapshot.node}"
            self._events.record(obj, "ETCDSnapshotDeleted", message)

    def _attempt(self, request: Callable[[str], object], obj: Object) -> bool:
        """Whether the request for this object was made, and the object was still there and unchanged."""
        if not self._held.is_set():
            return False
        try:
            request(path_to(objects.COLLECTION, obj["metadata"]["name"]))
        except ApiError as error:
            # It was deleted or changed meanwhile: the watch reports that.
            if error.status not in (404, 409):
                raise
            return False
        return True

    def _write(self, entries: dict[str, str]) -> None:
        """Writes the ConfigMap if it has other entries; without any, it is not created."""
        digest = hash(frozenset(entries.items()))
        if digest == self._written or not self._held.is_set():
            return
        path = path_to(_CONFIG_MAPS, objects.CONFIG_MAP)
        try:
            present = self._client.get(path).get("data") or {}
        except ApiError as error:
            if error.status != 404:
                raise
            if entries:
                self._client.create(_CONFIG_MAPS, objects.config_map(entries))
        else:
            patch: Object = {name: value for name, value in entries.items() if present.get(name) != value}
            patch |= {name: None for name in present if objects.is_entry(name) and name not in entries}
            if patch:
                self._client.merge_patch(path, {"data": patch})
        self._written = digest
