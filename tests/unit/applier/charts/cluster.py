"""A Kubernetes API with charts and helm's records in it, and a helm that writes such records."""

import base64
import gzip
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rke2_units.applier.charts.command import Version
from rke2_units.applier.charts.helm import Ended, Helm
from rke2_units.applier.charts.reconciler import Reconciler, chart_path, config_path
from rke2_units.applier.charts.states import Key, States
from rke2_units.coordination.events import Events
from rke2_units.doors.kubernetes import Client
from tests.unit.kubernetes_api import ApiServer, Reply, Request, Store, served

Object = dict[str, Any]
KEY: Key = ("kube-system", "a")
HASH = "helmcharts.helm.cattle.io/configHash"


class Cluster(Store):
    """Collections are listed, /status is a part of its object, and what has no finalizer left is gone."""

    chart_version = "1.0.0"

    def __call__(self, request: Request) -> Reply:
        path = request.path.removesuffix("/status")
        if path.endswith("/events"):
            return Reply(201, request.body)
        if request.method == "GET" and path.endswith(("/secrets", "/configmaps")):
            wanted = dict(part.split("=") for part in request.query["labelSelector"].split(","))
            items = [
                obj
                for place, obj in sorted(self.objects.items())
                if place.startswith(f"{path}/")
                and wanted.items() <= obj["metadata"].get("labels", {}).items()
            ]
            return Reply(
                body={
                    "kind": "SecretList",
                    "apiVersion": "v1",
                    "metadata": {"resourceVersion": "1"},
                    "items": items,
                }
            )
        reply = super().__call__(
            Request(request.method, path, request.query, request.headers, request.body, request.connection)
        )
        metadata = self.objects.get(path, {}).get("metadata", {})
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[path]
        return reply

    def add(self, path: str, obj: Object) -> None:
        namespace, name = path.split("/")[-3], path.split("/")[-1]
        obj["metadata"] = {"name": name, "namespace": namespace, **obj.get("metadata", {})}
        self.put(path, obj)

    def chart(self, spec: Object | None = None, **metadata: Any) -> None:
        spec = {"chartContent": "dGd6", "targetNamespace": "apps", **(spec or {})}
        obj = {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "spec": spec, "metadata": metadata}
        self.add(chart_path(KEY), obj)

    def config(self, spec: Object) -> None:
        self.add(config_path(KEY), {"spec": spec})

    def record(self, revision: int, status: str, digest: str = "OLD", method: str = "") -> None:
        release = {
            "info": {"status": status, "last_deployed": "2026-01-02T03:04:05.123456789Z"},
            "chart": {"metadata": {"version": self.chart_version}},
            "apply_method": method,
        }
        text = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
        labels = {"owner": "helm", "name": KEY[1], "version": str(revision), "status": status, HASH: digest}
        path = f"/api/v1/namespaces/apps/secrets/sh.helm.release.v1.a.v{revision}"
        self.add(path, {"kind": "Secret", "metadata": {"labels": labels}, "data": {"release": text}})

    def records(self) -> dict[int, str]:
        """Status by revision."""
        return {
            int(obj["metadata"]["labels"]["version"]): obj["metadata"]["labels"]["status"]
            for path, obj in self.objects.items()
            if "/sh.helm.release.v1." in path
        }

    def conditions(self) -> dict[str, Object]:
        found = self.objects[chart_path(KEY)].get("status", {}).get("conditions", [])
        return {condition["type"]: condition for condition in found}

    def annotations(self) -> dict[str, str]:
        found: dict[str, str] = self.objects[chart_path(KEY)]["metadata"].get("annotations", {})
        return found


class RecordingHelm(Helm):
    """helm, as far as its records go. `fails`: the words of the next runs that fail."""

    def __init__(self, cluster: Cluster, version: Version = (3, 17)) -> None:
        super().__init__("/helm", "/kubeconfig")
        self.cluster = cluster
        self.told = version
        self.fails: list[str] = []
        self.commands: list[list[str]] = []

    def version(self) -> tuple[Version, str]:
        return self.told, f"{self.told[0]}.{self.told[1]}.0"

    def run(
        self,
        arguments: Sequence[str],
        directory: str,
        driver: str,
        fields: Mapping[str, str],
        *,
        limit: float,
        stop: threading.Event,
    ) -> Ended:
        self.commands.append(list(arguments))
        records = self.cluster.records()
        failure = self.fails.pop(0) if self.fails else ""
        if arguments[0] == "uninstall" and not failure:
            for revision in records:
                del self.cluster.objects[f"/api/v1/namespaces/apps/secrets/sh.helm.release.v1.a.v{revision}"]
        elif arguments[0] in ("install", "upgrade"):
            digest = next(word for word in arguments if word.startswith("--labels=")).rpartition("=")[2]
            status = "failed" if failure else "deployed"
            self.cluster.record(max(records, default=0) + 1, status, digest)
        return Ended(failure)

    @property
    def verbs(self) -> list[str]:
        return [" ".join(command[:2]) if command[0] == "repo" else command[0] for command in self.commands]


class Bench:
    """A cluster, its helm and the reconciler between them."""

    def __init__(self, server: ApiServer, work: str) -> None:
        self.cluster = Cluster()
        server.answer = self.cluster
        self.server = server
        self.helm = RecordingHelm(self.cluster)
        self.client = Client(server.url)
        self.states = States(work)
        self.work = work
        self.referenced: frozenset[str] = frozenset()
        self.restart()

    def restart(self) -> None:
        """The applier anew: what it had in memory is gone."""
        self.reconciler = Reconciler(
            self.client,
            Events(self.client, "rke2-helm-applier", "node"),
            self.helm,
            self.states,
            work=self.work,
            api_address="127.0.0.1:6443",
        )

    def reconcile(self, stop: threading.Event | None = None) -> float | None:
        def referenced(names: frozenset[str]) -> None:
            self.referenced = names

        return self.reconciler.reconcile(KEY, stop or threading.Event(), referenced)

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of each event, in order."""
        return [
            (request.body["reason"], request.body["message"])
            for request in self.server.requests
            if request.method == "POST" and request.path.endswith("/events")
        ]


@contextmanager
def bench(work: str) -> Iterator[Bench]:
    with served() as server:
        found = Bench(server, work)
        try:
            yield found
        finally:
            found.client.close()
