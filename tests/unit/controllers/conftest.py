"""A cluster for the controllers: an API with nodes and Secrets in it, and an etcd without a network."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rke2_units.controllers.nodes import Nodes
from rke2_units.doors.kubernetes import Client
from rke2_units.doors.kubernetes_endpoints import API_SERVERS
from rke2_units.lean.etcd import Etcd, EtcdError, Member, Value
from tests.unit.kubernetes_api import ApiServer, Object, Reply, Request, served
from tests.unit.snapshot_files import SnapshotStore


class Api(SnapshotStore):
    """Nodes with a status, finalizers that hold deleted objects, apply, and lists of metadata."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[tuple[str, Object]] = []

    def __call__(self, request: Request) -> Reply:
        if request.headers.get("content-type") == "application/apply-patch+yaml":
            self.applied.append((request.path, request.body))
            return Reply(body=request.body)
        if request.path.endswith("/events"):
            self.applied.append((request.path, request.body))
            return Reply(201, request.body)
        if request.method == "GET" and request.path.endswith(("/nodes", "/secrets")):
            items = [obj for path, obj in self.objects.items() if path.startswith(f"{request.path}/")]
            kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return Reply(body={**kind, "metadata": {"resourceVersion": "1"}, "items": items})
        reply = super().__call__(request)
        metadata = self.objects.get(request.path, {}).get("metadata", {})
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[request.path]
        return reply


class FakeEtcd(Etcd):
    """Members and keys as values; `silent` ones (ids) do not answer, `behind` ones have not caught up."""

    def __init__(self, *found: Member) -> None:
        self.found = list(found)
        self.values: dict[str, Value] = {}
        self.silent: set[int] = set()
        self.behind: set[int] = set()
        self.endpoint: tuple[str, ...] = ()
        self.before_write: Callable[[], None] = lambda: None

    def at(self, endpoints: tuple[str, ...]) -> "FakeEtcd":
        self.endpoint = endpoints
        return self

    def members(self) -> list[Member]:
        return [Member(m.identifier, m.name, m.peer_urls, m.client_urls, m.is_learner) for m in self.found]

    def _get(self, identifier: int) -> Member:
        return next(member for member in self.found if member.identifier == identifier)

    def promote(self, identifier: int) -> None:
        if identifier in self.behind | self.silent:
            raise EtcdError("etcdserver: can only promote a learner member which is in sync with leader")
        self._get(identifier).is_learner = False

    def remove(self, identifier: int) -> None:
        self.found.remove(self._get(identifier))

    def applied_index(self) -> int:
        (member,) = (member for member in self.found if member.client_urls == self.endpoint)
        if member.identifier in self.silent:
            raise EtcdError("context deadline exceeded")
        return 7

    def get(self, key: str) -> Value | None:
        return self.values.get(key)

    def put(self, key: str, text: str) -> None:
        before = self.values.get(key)
        self.values[key] = Value(text, (before.revision if before else 0) + 1)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.values if key.startswith(prefix)]

    def write(self, key: str, text: str, revision: int, *, remove: tuple[str, ...] = ()) -> bool:
        self.before_write()
        before = self.values.get(key)
        if (before.revision if before else 0) != revision:
            return False
        self.values[key] = Value(text, revision + 1)
        for other in remove:
            self.values.pop(other, None)
        return True


@dataclass
class Cluster:
    """`held` is the lease; `nodes` is what the watch would know, brought up to date by `look`."""

    api: Api
    server: ApiServer
    client: Client
    etcd: FakeEtcd
    nodes: Nodes
    held: threading.Event = field(default_factory=threading.Event)

    def add_node(self, name: str, **metadata: Any) -> None:
        path = f"/api/v1/nodes/{name}"
        values = {"name": name, "uid": f"uid-of-{name}", **metadata}
        self.api.put(path, {"apiVersion": "v1", "kind": "Node", "metadata": values})
        self.look()

    def delete_node(self, name: str) -> None:
        """As the API does: it stays while it has finalizers."""
        path = f"/api/v1/nodes/{name}"
        obj = self.api.objects[path]
        if obj["metadata"].get("finalizers"):
            stamp = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
            self.api.put(path, {**obj, "metadata": {**obj["metadata"], **stamp}})
        else:
            del self.api.objects[path]
        self.look()

    def look(self) -> None:
        present = {
            obj["metadata"]["name"]: obj["metadata"]
            for path, obj in self.api.objects.items()
            if path.startswith("/api/v1/nodes/")
        }
        for name in self.nodes.metadata().keys() - present.keys():
            self.nodes.note("DELETED", {"name": name})
        for metadata in present.values():
            self.nodes.note("MODIFIED", metadata)

    def set_api_servers(self, *addresses: str) -> None:
        ports = [{"name": "https", "port": 6443}]
        subsets = [{"addresses": [{"ip": address} for address in addresses], "ports": ports}]
        metadata = {"namespace": "default", "name": "kubernetes"}
        self.api.put(API_SERVERS, {"metadata": metadata, "subsets": subsets})

    def metadata(self, name: str) -> Object:
        found: Object = self.api.objects[f"/api/v1/nodes/{name}"]["metadata"]
        return found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    api = Api()
    with served() as server:
        server.answer = api
        client = Client(server.url)
        made = Cluster(api, server, client, FakeEtcd(), Nodes(client))
        made.held.set()
        made.set_api_servers("192.0.2.1")
        yield made
        client.close()


def make_member(number: int, *, learner: bool = False, name: str = "", started: bool = True) -> Member:
    called = (name or f"node{number}-0000000{number}") if started else ""
    client = (f"https://192.0.2.{number}:2379",) if started else ()
    return Member(number, called, (f"https://192.0.2.{number}:2380",), client, learner)
