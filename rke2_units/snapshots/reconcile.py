"""Makes the ETCDSnapshotFiles of this node and of S3 what is found there (RKE2's reconcile).

Each run is a process of its own and may meet others: servers that reconcile the same bucket, or this node's
next run. So everything here may already be done, and a run that is cut off is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from rke2_units import unit_names
from rke2_units.coordination.events import Events
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, Object, path_to
from rke2_units.snapshots import objects
from rke2_units.snapshots.objects import Verification
from rke2_units.snapshots.snapshot import S3, Snapshot

_Answer = TypeVar("_Answer")

LOCAL_ANNOTATION = "etcd.rke2.cattle.io/local-snapshots-timestamp"
S3_ANNOTATION = "etcd.rke2.cattle.io/s3-snapshots-timestamp"

_NODES = "/api/v1/nodes"
_PAGE = 20
# How long the object of a failed snapshot stays.
_ERROR_SHOWN = timedelta(hours=24)
# Another server may have uploaded this after S3 was listed here.
_JUST_UPLOADED = timedelta(minutes=1)


def reconcile(
    client: Client,
    found: Sequence[Snapshot],
    *,
    node: str,
    with_s3: bool,
    deleted: Collection[str] = (),
    failed: Sequence[Snapshot] = (),
    verified: Verification | None = None,
) -> bool:
    """Whether the cluster knows everything now; if not, a warning says why, and the next run does the rest.

    `found`: the files of this node, and with `with_s3` what was listed in S3. `deleted`: names of snapshots
    that were just deleted on purpose. `failed`: those that could not be taken or uploaded. `verified`: the
    last result of verifying a file of this node.
    """
    run = _Run(client, node, verified)
    recorded = objects.recordable(found)
    if len(recorded) < len(found):
        left_out = f"{len(found) - len(recorded)} of {len(found)} snapshots get no ETCDSnapshotFile"
        reason = "there are more than 1000 in one place, or a name is too long or not printable"
        journal.log(Level.NOTICE, f"{left_out}: {reason}")
    try:
        run.record(objects.recordable(failed))
        missing = run.compare(recorded, [node, S3] if with_s3 else [node], deleted)
        run.record(missing)
        run.note([LOCAL_ANNOTATION, S3_ANNOTATION] if with_s3 else [LOCAL_ANNOTATION])
    except (ApiError, ApiUnavailable) as error:
        run.problems.append(
            "the API does not have this kind yet"
            if isinstance(error, ApiError) and error.status == 404
            else str(error)
        )
    if run.problems:
        others = f" (and {len(run.problems) - 1} more)" if len(run.problems) > 1 else ""
        text = (
            f"cannot update all ETCDSnapshotFiles, the next reconcile tries again: {run.problems[0]}{others}"
        )
        journal.log(Level.WARNING, text)
    return not run.problems


def events(client: Client, node: str) -> Events:
    """The events of snapshots, with RKE2's source."""
    return Events(client, unit_names.SUPERVISOR_UNIT.removesuffix(".service"), node)


class _Run:
    """One reconcile. The API's refusals of single objects are collected in `problems`."""

    def __init__(self, client: Client, node: str, verified: Verification | None) -> None:
        self.problems: list[str] = []
        self._client = client
        self._node = node
        self._verified = verified
        self._events = events(client, node)
        self._now = datetime.now(UTC)

    def compare(
        self, found: Sequence[Snapshot], storages: Sequence[str], deleted: Collection[str]
    ) -> list[Snapshot]:
        """Deletes objects without a snapshot; returns the snapshots without an object."""
        missing = {objects.key(snapshot): snapshot for snapshot in found}
        selector = f"{objects.STORAGE_LABEL} in ({','.join(storages)})"
        for obj in self._client.list(objects.COLLECTION, label_selector=selector, limit=_PAGE):
            described = objects.of_object(obj)
            key = objects.key(described)
            snapshot = missing.get(key)
            if snapshot is not None and objects.object_name(snapshot) == obj["metadata"]["name"]:
                del missing[key]
                self._update(obj, described, snapshot)
            elif not self._is_kept(obj, described, deleted):
                self._try(described.name, 404, partial(self._client.delete, _path(obj)))
        return list(missing.values())

    def record(self, snapshots: Sequence[Snapshot]) -> None:
        """Creates the objects of these snapshots, and their events."""
        for snapshot in snapshots:
            obj = objects.to_object(snapshot, self._verified if self._is_verified(snapshot) else None)
            # 409: another server was faster, or the object before it is just being deleted.
            made = self._try(snapshot.name, 409, partial(self._client.create, objects.COLLECTION, obj))
            if made is None:
                continue
            if snapshot.error:
                message = f"Failed to save snapshot {snapshot.name} on {snapshot.node}: {snapshot.error}"
                self._events.record(made, "ETCDSnapshotFailed", message, warning=True)
            else:
                message = f"Snapshot {snapshot.name} saved on {snapshot.node}"
                self._events.record(made, "ETCDSnapshotCreated", message)

    def note(self, annotations: Sequence[str]) -> None:
        """Notes on this node when its snapshots were reconciled."""
        patch = {"metadata": {"annotations": dict.fromkeys(annotations, objects.time_text(self._now))}}
        try:
            self._client.merge_patch(path_to(_NODES, self._node), patch)
        except ApiError as error:
            # The node has not registered yet.
            if error.status != 404:
                raise

    def _is_kept(self, obj: Object, described: Snapshot, deleted: Collection[str]) -> bool:
        """Whether an object without a snapshot stays for now."""
        metadata = obj["metadata"]
        if "deletionTimestamp" in metadata:
            return True
        if described.name in deleted:
            return False
        if described.error:
            return self._now < described.created + _ERROR_SHOWN
        made = objects.time_of(metadata.get("creationTimestamp")) or self._now
        return described.s3 is not None and self._now < made + _JUST_UPLOADED

    def _is_verified(self, snapshot: Snapshot) -> bool:
        return self._verified is not None and snapshot.s3 is None and snapshot.name == self._verified.name

    def _update(self, obj: Object, described: Snapshot, snapshot: Snapshot) -> None:
        """Writes what the object lacks: the result of verifying, and that the snapshot is there."""
        status: Object = {}
        if described.error:
            # An upload can succeed although its answer is lost.
            status = {**objects.to_object(snapshot)["status"], "error": None}
        if self._verified is not None and self._is_verified(snapshot):
            conditions = objects.conditions_with(obj, self._verified)
            if conditions is not None:
                status["conditions"] = conditions
        if status:
            version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            patch = {"metadata": version, "status": status}
            self._try(snapshot.name, 404, partial(self._client.merge_patch, _path(obj), patch))

    def _try(self, name: str, already: int, request: Callable[[], _Answer]) -> _Answer | None:
        """The answer; None if the API refuses, for another reason than `already` (a status) a problem."""
        try:
            return request()
        except ApiError as error:
            if error.status == already:
                return None
            if error.status == 404:
                raise
            self.problems.append(f"{name}: {error}")
            return None


def _path(obj: Object) -> str:
    return path_to(objects.COLLECTION, obj["metadata"]["name"])
