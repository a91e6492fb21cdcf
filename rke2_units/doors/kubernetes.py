"""The Kubernetes API: objects read, applied and watched, and how a kind is addressed.

Paths are the API's own ("/api/v1/namespaces/default/configmaps/a"), objects are its JSON as dicts. A path
may carry a query of its own ("...?fieldSelector=metadata.name%3Da").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import quote, urlencode

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes_transport import JSON, ApiError, ApiUnavailable, Object, Transport, refusal
from rke2_units.errors import UserError
from rke2_units.lean.http import Identity

__all__ = [
    "ApiError", "ApiUnavailable", "Client", "Discovery", "Event", "Object", "Resource", "UnknownKind",
    "path_of", "path_to",
]  # fmt: skip

# Objects to a page, unless told otherwise.
_PAGE = 500
# A watch asks for an end after so many seconds, as client-go does. The server sends a bookmark each minute
# (not where nothing ever changed); a longer silence may be a dead connection, and to resume costs little.
_WATCH_SECONDS = 480
_WATCH_SILENCE = 150.0
# Pauses of a watch after failures: doubled from the first to the last, which is how long a change may stay
# unseen after the API is back.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 5.0
# An attempt that lived for so long was a good one.
_GOOD_SECONDS = 10.0
# So many failures in a row are not worth a line in the journal: an API server restarts.
_SILENT_FAILURES = 3
# How long a kind that was not there is taken to be still not there.
_MISSING_SECONDS = 2.0


class UnknownKind(UserError):
    """The API has no such kind (yet): its CustomResourceDefinition may still come."""


@dataclass(frozen=True)
class Event:
    """One change. `type` is ADDED, MODIFIED, DELETED, or SYNCED (whose object is {}): see Client.watch."""

    type: str
    object: Object


@dataclass(frozen=True)
class Resource:
    """How a kind is addressed; `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool


class Client:
    """One API server. Threads may share a client: each has a connection of its own.

    Every call raises ApiError for the API's refusals and ApiUnavailable for everything else. 429 and 503 are
    tried again when the server says when (Retry-After), for as long as `timeout`.
    """

    def __init__(self, url: str, identity: Identity | None = None, *, timeout: float = 30.0) -> None:
        """`timeout`: seconds that one answer may take. Raises ConfigurationError for unusable PEM files."""
        self._transport = Transport(url, identity, timeout)

    def get(self, path: str) -> Object:
        return self._transport.request("GET", path, None)

    def text(self, path: str) -> str:
        """An answer that is no object: a log."""
        return self._transport.content("GET", path, None, accept="*/*").decode(errors="replace")

    def list(
        self, path: str, *, label_selector: str = "", limit: int = _PAGE, metadata_only: bool = False
    ) -> Iterator[Object]:
        """Every object of a collection, fetched in pages of `limit`; each with its apiVersion and kind.

        With `metadata_only`, these are PartialObjectMetadata.
        """
        query = {"labelSelector": label_selector} if label_selector else {}
        for page in self._pages(_with_query(path, query), limit, metadata_only):
            yield from _items(page)

    def create(self, path: str, obj: Object) -> Object:
        """`path` is the collection's."""
        return self._transport.request("POST", path, obj)

    def apply(
        self, path: str, obj: Object, *, manager: str = "rke2-helm-applier", force: bool = True
    ) -> Object:
        """Server-side apply at the object's path; force takes fields over from other managers."""
        path = _with_query(path, {"fieldManager": manager, "force": "true" if force else "false"})
        return self._transport.request("PATCH", path, obj, "application/apply-patch+yaml")

    def merge_patch(self, path: str, patch: Object, subresource: str = "") -> Object:
        """RFC 7386: null removes. With metadata.resourceVersion: 409 unless that is still the object's."""
        path = f"{path}/{subresource}" if subresource else path
        return self._transport.request("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, path: str, *, propagation: str = "Background") -> None:
        """An object that is gone already is ApiError 404."""
        self._transport.request("DELETE", path, {"propagationPolicy": propagation})

    def watch(
        self,
        path: str,
        *,
        resource_version: str = "",
        stop: threading.Event,
        metadata_only: bool = False,
        failed: Callable[[int], None] = lambda _: None,
    ) -> Iterator[Event]:
        """Every change of a collection, for ever: ends only after `stop` is set (and at once by close()).

        Without a resource_version, the existing objects are yielded first as ADDED, then SYNCED once. A lost
        connection is resumed where it broke. When the server has forgotten that version, the difference is
        yielded as ADDED, MODIFIED and DELETED (with name and namespace only), and SYNCED again. `failed` is
        called at each failure, with the number of those in a row.
        """
        # The version of each object that was reported, by namespace and name.
        known: dict[tuple[str, str], str] = {}
        failures = 0
        while not (stop.is_set() or self._transport.closed.is_set()):
            began = time.monotonic()
            good = False
            error = "the connection ended at once"
            try:
                if not resource_version:
                    resource_version = yield from self._difference(path, known, metadata_only)
                for event in self._watch_once(path, resource_version, metadata_only):
                    if stop.is_set():
                        return
                    good = True
                    resource_version = event.object["metadata"]["resourceVersion"]
                    if event.type == "BOOKMARK":
                        continue
                    if event.type == "DELETED":
                        known.pop(_key(event.object), None)
                    else:
                        known[_key(event.object)] = resource_version
                    yield event
            except ApiError as failure:
                error = failure.message
                if failure.status == 410:
                    resource_version = ""
            except ApiUnavailable as failure:
                error = failure.message
            if good or time.monotonic() - began > _GOOD_SECONDS:
                failures = 0
            else:
                failures += 1
                failed(failures)
                if failures == _SILENT_FAILURES:
                    journal.log(Level.WARNING, f"the watch of {path} fails and is tried again: {error}")
                stop.wait(min(_LAST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1)))

    def close(self) -> None:
        """Ends all connections, from whatever thread; calls under way raise ApiUnavailable, watches end."""
        self._transport.close()

    def _pages(self, path: str, limit: int, metadata_only: bool) -> Iterator[Object]:
        accept = _partial("PartialObjectMetadataList") if metadata_only else JSON
        query = {"limit": str(limit)}
        while True:
            page = self._transport.request("GET", _with_query(path, query), None, accept=accept)
            if "items" in page and page["items"] is None:
                page["items"] = []  # an empty list of metadata, as Go writes it
            if not isinstance(page.get("items"), list) or not _is_object(page):
                raise ApiUnavailable(f"the answer to {path} is not a list")
            yield page
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    def _difference(
        self, path: str, known: dict[tuple[str, str], str], metadata_only: bool
    ) -> Generator[Event, None, str]:
        """Yields the events from `known` to the present, updates `known`, and returns its version."""
        version = ""
        seen = set()
        for page in self._pages(path, _PAGE, metadata_only):
            # Pages of one list have one version.
            version = version or page["metadata"]["resourceVersion"]
            for obj in _items(page):
                key = _key(obj)
                seen.add(key)
                before = known.get(key)
                known[key] = obj["metadata"]["resourceVersion"]
                if before is None:
                    yield Event("ADDED", obj)
                elif before != known[key]:
                    yield Event("MODIFIED", obj)
        for key in [key for key in known if key not in seen]:
            del known[key]
            yield Event("DELETED", {"metadata": {"namespace": key[0], "name": key[1]}})
        yield Event("SYNCED", {})
        return version

    def _watch_once(self, path: str, version: str, metadata_only: bool) -> Iterator[Event]:
        """The events of one connection, BOOKMARK included; ERROR is raised."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        accept = _partial("PartialObjectMetadata") if metadata_only else JSON
        for line in self._transport.stream(_with_query(path, query), accept, _WATCH_SILENCE):
            kind, obj = line.get("type"), line.get("object")
            if kind == "ERROR":
                code = obj.get("code") if isinstance(obj, dict) else None
                raise refusal(code if isinstance(code, int) else 500, obj)
            if not isinstance(kind, str) or not _is_object(obj):
                raise ApiUnavailable(f"the answer to {path} is not a stream of events")
            yield Event(kind, obj)


class Discovery:
    """Which kinds the API has: asked once per group and version, and at most every 2 s for a new kind."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        # By apiVersion: when it was asked for (s, monotonic), and what there is by kind.
        self._known: dict[str, tuple[float, dict[str, Resource]]] = {}

    def resource(self, api_version: str, kind: str) -> Resource:
        """Raises UnknownKind, and ApiUnavailable or ApiError when nobody can say."""
        with self._lock:
            asked, resources = self._known.get(api_version, (-_MISSING_SECONDS, {}))
            if kind not in resources and time.monotonic() - asked >= _MISSING_SECONDS:
                resources = self._ask(api_version)
                self._known[api_version] = (time.monotonic(), resources)
        if kind not in resources:
            raise UnknownKind(f"the API has no kind {kind} in {api_version}")
        return resources[kind]

    def forget(self, api_version: str) -> None:
        """To be asked again: a path of it was not found, or its definition changed."""
        with self._lock:
            self._known.pop(api_version, None)

    def _ask(self, api_version: str) -> dict[str, Resource]:
        group, slash, version = api_version.rpartition("/")
        try:
            answer = self._client.get(
                path_to("/apis", group, version) if slash else path_to("/api", version)
            )
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        return {
            entry["kind"]: Resource(group, version, entry["name"], entry["namespaced"])
            for entry in answer.get("resources", [])
            if "/" not in entry["name"]  # subresources
        }


def path_of(resource: Resource, namespace: str = "", name: str = "") -> str:
    """The path of an object, or when `name` is "" of a collection (without `namespace`: of all namespaces).

    `namespace` counts where kinds have one; an object without it is in "default". Raises ApiError 422 for
    what cannot be a name, so that nothing in a manifest becomes another path.
    """
    segments = ["apis", resource.group] if resource.group else ["api"]
    segments.append(resource.version)
    if resource.namespaced and (namespace or name):
        segments += ["namespaces", namespace or "default"]
    segments.append(resource.plural)
    if name:
        segments.append(name)
    return "".join(f"/{_segment(segment)}" for segment in segments)


def path_to(base: str, *names: str) -> str:
    """The path below `base`, a path of ours ("/api/v1/namespaces"): each name is one segment of it.

    Raises ApiError 422 for what cannot be a name.
    """
    return base + "".join(f"/{_segment(name)}" for name in names)


def _segment(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "%" in name:
        raise ApiError(422, "Invalid", f"{name!r} is not a valid name")
    return quote(name, safe=":")


def _with_query(path: str, query: dict[str, str]) -> str:
    if not query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(query)}"


def _partial(kind: str) -> str:
    return f"{JSON};as={kind};g=meta.k8s.io;v=v1"


def _is_object(obj: object) -> TypeGuard[Object]:
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("resourceVersion"), str)


def _items(page: Object) -> Iterator[Object]:
    """The API leaves apiVersion and kind out of a list's items; they follow from the list's own."""
    for item in page["items"]:
        if not _is_object(item):
            raise ApiUnavailable("malformed object in a list")
        item.setdefault("apiVersion", page.get("apiVersion"))
        item.setdefault("kind", str(page.get("kind")).removesuffix("List"))
        yield item


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"].get("name", "")
