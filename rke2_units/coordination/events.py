"""core/v1 Events on the objects that servers act on, as `kubectl describe` shows them."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from rke2_units import printable
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, Object, Resource, path_of

_EVENTS = Resource("", "v1", "events", namespaced=True)
# Characters; the API rejects an event with a longer message.
_LONGEST_MESSAGE = 1024
# How many events are remembered, so that a repeated one is counted.
_REMEMBERED = 256


class Events:
    """Records events; like client-go, it raises the count of an event that is repeated."""

    def __init__(self, client: Client, component: str, host: str) -> None:
        """`component` (a unit's name without its suffix) and `host` (this node's name) are their source."""
        self._client = client
        self._source = {"component": component, "host": host}
        self._lock = threading.Lock()
        # Path and count of each event by its content; the oldest first.
        self._recorded: dict[tuple[str, ...], tuple[str, int]] = {}

    def record(self, obj: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Records an event on `obj` (apiVersion, kind, metadata). Errors of the API are ignored."""
        metadata = obj["metadata"]
        subject = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata.get("uid", ""),
        }
        kind = "Warning" if warning else "Normal"
        message = printable.line(message)[:_LONGEST_MESSAGE]
        key = (*subject.values(), kind, reason, message)
        with self._lock:
            path, count = self._recorded.pop(key, ("", 0))
            try:
                if not (path and self._counted(path, count + 1)):
                    path, count = self._created(subject, kind, reason, message), 0
            except (ApiError, ApiUnavailable):
                return
            self._recorded[key] = path, count + 1
            while len(self._recorded) > _REMEMBERED:
                del self._recorded[next(iter(self._recorded))]

    def _counted(self, path: str, count: int) -> bool:
        """Updates the event's count; False if it no longer exists (the API deletes events after an hour)."""
        try:
            self._client.merge_patch(path, {"count": count, "lastTimestamp": _now()})
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _created(self, subject: dict[str, str], kind: str, reason: str, message: str) -> str:
        """Creates an event; returns its path."""
        # Events on objects without a namespace are in "default".
        namespace = subject["namespace"] or "default"
        name = f"{subject['name']}.{time.time_ns():x}"
        now = _now()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {field: value for field, value in subject.items() if value},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": self._source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._client.create(path_of(_EVENTS, namespace), event)
        return path_of(_EVENTS, namespace, name)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
