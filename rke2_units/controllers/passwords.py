"""Deletes the password Secrets of deleted nodes. Only the holder of the lease does that."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from rke2_units.certificates import node_passwords
from rke2_units.controllers.nodes import Nodes
from rke2_units.doors.kubernetes import ApiError, Client, path_to

# How long (s) a password without a node is kept: nodes request certificates before they register.
_UNCLAIMED = 3600.0


class NodePasswords:
    """The Secrets with the passwords of all nodes."""

    def __init__(self, client: Client, known: Nodes, held: threading.Event) -> None:
        self._client = client
        self._nodes = known
        self._held = held
        # Deleted nodes whose Secrets are deleted.
        self._done: set[str] = set()

    def step(self) -> None:
        """Deletes the Secrets of nodes that were just deleted."""
        gone = self._nodes.gone()
        self._done &= gone
        for name in gone - self._done:
            self._delete(node_passwords.secret_name(name))
            self._done.add(name)

    def sweep(self) -> None:
        """Deletes Secrets that were missed while no server held the lease."""
        known = {node_passwords.secret_name(name) for name in self._nodes.metadata()}
        for secret in self._client.list(node_passwords.COLLECTION, metadata_only=True):
            name = str(secret["metadata"]["name"])
            if name.endswith(node_passwords.SUFFIX) and name not in known:
                created = datetime.fromisoformat(str(secret["metadata"]["creationTimestamp"]))
                if (datetime.now(UTC) - created).total_seconds() > _UNCLAIMED:
                    self._delete(name)

    def _delete(self, secret: str) -> None:
        if not self._held.is_set():
            return
        try:
            self._client.delete(path_to(node_passwords.COLLECTION, secret))
        except ApiError as error:
            if error.status != 404:
                raise
