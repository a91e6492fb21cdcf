"""The Kubernetes API, in JSON over connections that are kept open.

Paths are the API's own ("/api/v1/namespaces/default/configmaps/a"), objects are its JSON as dicts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rke2_units.doors import http
from rke2_units.errors import UserError

Object = dict[str, Any]


class ApiError(UserError):
    """The API's refusal: HTTP's `status` (404), the API's `reason` ("NotFound") and `message` (one line)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ApiUnavailable(UserError):
    """No valid answer: nobody listens, the connection broke, or it took too long. Worth another try."""


class UnknownKind(UserError):
    """The API has no such kind (yet): its CustomResourceDefinition may still come."""


@dataclass(frozen=True)
class Event:
    """One line of a watch. `type` is ADDED, MODIFIED, DELETED, or SYNCED (object: {}): see Client.watch."""

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

    def __init__(self, url: str, identity: http.Identity | None = None, *, timeout: float = 30.0) -> None:
        """`timeout`: seconds that one answer may take."""
        raise NotImplementedError

    def get(self, path: str) -> Object:
        raise NotImplementedError

    def list(self, path: str, *, label_selector: str = "", limit: int = 500) -> Iterator[Object]:
        """Every object of a collection, fetched in pages of `limit`; each with its apiVersion and kind."""
        raise NotImplementedError

    def create(self, path: str, obj: Object) -> Object:
        """`path` is the collection's."""
        raise NotImplementedError

    def apply(
        self, path: str, obj: Object, *, manager: str = "rke2-helm-applier", force: bool = True
    ) -> Object:
        """Server-side apply at the object's path; force takes fields over from other managers."""
        raise NotImplementedError

    def merge_patch(self, path: str, patch: Object, subresource: str = "") -> Object:
        """RFC 7386: null removes. With metadata.resourceVersion: 409 unless that is still the object's."""
        raise NotImplementedError

    def delete(self, path: str, *, propagation: str = "Background") -> None:
        """An object that is gone already is ApiError 404."""
        raise NotImplementedError

    def watch(self, path: str, *, resource_version: str = "", stop: threading.Event) -> Iterator[Event]:
        """Every change of a collection, for ever: ends only after `stop` is set (and at once by close()).

        Without a resource_version, what is there comes first as ADDED, then SYNCED once. A lost connection
        is resumed where it broke. When the server has forgotten that place, the difference to the present
        comes as ADDED, MODIFIED and DELETED (then with name and namespace only), and SYNCED again.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Ends all connections, from whatever thread; calls under way raise ApiUnavailable, watches end."""
        raise NotImplementedError


class Discovery:
    """Which kinds the API has: asked once per group and version, and at most every 2 s for a new kind."""

    def __init__(self, client: Client) -> None:
        raise NotImplementedError

    def resource(self, api_version: str, kind: str) -> Resource:
        """Raises UnknownKind, and ApiUnavailable when nobody can say."""
        raise NotImplementedError


def path_of(resource: Resource, namespace: str = "", name: str = "") -> str:
    """The object's path, or the collection's when `name` is ""; `namespace` counts where kinds have one.

    Raises ValueError for what is no name: nothing of a name may become another path.
    """
    raise NotImplementedError
