"""Writes the addresses of the API servers into a key of RKE2's in etcd, for servers that run etcd only.

Such a server has no other way to find the first API server, since only API servers know the nodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from rke2_units import cluster_names
from rke2_units.doors.kubernetes import Client
from rke2_units.doors.kubernetes_endpoints import API_SERVERS, addresses
from rke2_units.lean.etcd import Etcd


class ApiAddresses:
    """Writes the key whenever the API servers change. Only the holder of the lease does that."""

    def __init__(self, etcd: Callable[[], Etcd], client: Client) -> None:
        self._etcd = etcd
        self._client = client
        self._written = ""

    def step(self) -> None:
        """Updates the key if necessary. Raises UserError if the API or etcd does not answer."""
        text = json.dumps(sorted(addresses(self._client.get(API_SERVERS))), separators=(",", ":"))
        if text == self._written:
            return
        found = self._etcd().get(cluster_names.API_ADDRESSES_KEY)
        if found is None or found.text != text:
            self._etcd().put(cluster_names.API_ADDRESSES_KEY, text)
        self._written = text

    def forget(self) -> None:
        """Forgets the written value: another server may write the key from now on."""
        self._written = ""
