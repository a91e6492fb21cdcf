"""The objects of all snapshots, as the server that holds the lease looks after them."""

import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from rke2_units.controllers import snapshot_files
from rke2_units.controllers.nodes import ETCD
from rke2_units.controllers.snapshot_files import SnapshotFiles
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable
from rke2_units.snapshots import definition, objects
from tests.unit.controllers.conftest import Cluster
from tests.unit.kubernetes_api import Object, Reply, Request, refused
from tests.unit.snapshot_files import DEFINITION, in_s3, local

CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/rke2-etcd-snapshots"
SOME = {"cluster": "prod"}


@pytest.fixture
def files(cluster: Cluster) -> SnapshotFiles:
    """Two servers with etcd, and an agent."""
    for name in ("node1", "node2"):
        cluster.add_node(name, labels={ETCD: "true"})
    cluster.add_node("agent", labels={"a": "b"})
    return SnapshotFiles(cluster.client, cluster.nodes, cluster.held, "node1")


class Clock:
    """Stands in for `time` in the module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(snapshot_files, "time", clock)
    yield clock


def changed(files: SnapshotFiles) -> None:
    """What the watch does."""
    files._changed.set()


def asked(cluster: Cluster) -> list[str]:
    """The requests since the last time."""
    found = [f"{request.method} {request.path}" for request in cluster.server.requests]
    cluster.server.requests.clear()
    return found


def data(cluster: Cluster) -> dict[str, str]:
    found: dict[str, str] = cluster.api.objects[CONFIG_MAP]["data"]
    return found


def events(cluster: Cluster) -> list[Object]:
    return [body for path, body in cluster.api.applied if path.endswith("/events")]


def test_the_kind_is_defined_before_it_is_needed(
    cluster: Cluster, files: SnapshotFiles, clock: Clock
) -> None:
    cluster.api.serves = False
    files.step(True)
    assert cluster.api.objects[DEFINITION]["spec"] == definition.definition()["spec"]
    # The API needs a moment until it serves it.
    clock.now += 2
    files.step(False)
    assert not files._served.is_set()
    cluster.api.serves = True
    files.step(False)
    assert files._served.is_set()
    asked(cluster)
    files.step(False)
    assert asked(cluster) == []


def test_a_kind_that_is_never_served_is_a_problem(
    cluster: Cluster, files: SnapshotFiles, clock: Clock
) -> None:
    cluster.api.serves = False
    files.step(True)
    clock.now += 31
    with pytest.raises(ApiError):
        files.step(False)


def test_a_definition_that_was_deleted_is_made_again(
    cluster: Cluster, files: SnapshotFiles, clock: Clock
) -> None:
    files.step(True)
    del cluster.api.objects[DEFINITION]
    clock.now += 601
    with pytest.raises(ApiError):
        files.step(False)
    files.step(False)
    assert DEFINITION in cluster.api.objects


def test_rke2s_definition_gets_what_it_lacks_once(cluster: Cluster, files: SnapshotFiles) -> None:
    obj = deepcopy(definition.definition())
    properties = obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    conditions = properties["status"]["properties"].pop("conditions")
    cluster.api.put(DEFINITION, obj)
    files.step(True)
    changed(files)
    files.step(False)
    assert [request for request in asked(cluster) if "definitions" in request] == [
        f"GET {DEFINITION}",
        f"PATCH {DEFINITION}",
    ]
    after = cluster.api.objects[DEFINITION]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert after["status"]["properties"]["conditions"] == conditions


def test_nothing_is_asked_while_nothing_changes(
    cluster: Cluster, files: SnapshotFiles, clock: Clock
) -> None:
    cluster.api.add(local(metadata=SOME))
    files.step(True)
    asked(cluster)
    # An annotation of a node, for example when its snapshots were reconciled.
    cluster.add_node("node1", labels={ETCD: "true"}, annotations={"a": "b"})
    for _ in range(5):
        files.step(True)
        files.step(False)
    assert asked(cluster) == []
    # A change that is none for the ConfigMap is one list.
    changed(files)
    files.step(False)
    assert asked(cluster) == [f"GET {objects.COLLECTION}"]


def test_everything_is_compared_after_ten_minutes(
    cluster: Cluster, files: SnapshotFiles, clock: Clock
) -> None:
    cluster.api.add(local(metadata=SOME))
    files.step(True)
    del cluster.api.objects[CONFIG_MAP]
    clock.now += 9.9 * 60
    files.step(False)
    assert CONFIG_MAP not in cluster.api.objects
    clock.now += 0.2 * 60
    files.step(False)
    assert len(data(cluster)) == 1


def test_objects_of_nodes_that_are_gone_go(cluster: Cluster, files: SnapshotFiles) -> None:
    kept = {cluster.api.add(each) for each in (local("node1"), local("node2"), in_s3("node3"))}
    cluster.api.add(local("node3"), finalizers=[])
    cluster.api.add(local("agent"), finalizers=[])
    cluster.api.add(local("node1", seconds=5), labels={}, finalizers=[])
    files.step(True)
    assert cluster.api.files() == kept
    cluster.delete_node("node2")
    files.step(True)
    # Held by their finalizer until the next step, which the watch brings about.
    changed(files)
    files.step(False)
    assert cluster.api.files() == kept - {objects.object_name(local("node2"))}


def test_a_server_that_stops_to_run_etcd_has_no_snapshots(cluster: Cluster, files: SnapshotFiles) -> None:
    cluster.api.add(local("node2"), finalizers=[])
    files.step(True)
    assert cluster.api.files()
    cluster.add_node("node2", labels={ETCD: "false"})
    files.step(True)
    assert not cluster.api.files()


def test_nodes_that_changed_while_another_server_held_the_lease_are_known(
    cluster: Cluster, files: SnapshotFiles
) -> None:
    files.step(True)
    files.forget()
    cluster.add_node("node3", labels={ETCD: "true"})
    kept = cluster.api.add(local("node3"), finalizers=[])
    files.step(False)
    assert cluster.api.files() == {kept}


def test_before_any_node_has_its_label_nothing_is_deleted(cluster: Cluster) -> None:
    cluster.add_node("node1")
    files = SnapshotFiles(cluster.client, cluster.nodes, cluster.held, "node1")
    cluster.api.add(local(), finalizers=[])
    files.step(True)
    assert cluster.api.files()


def test_a_deleted_object_is_released_and_an_event_says_so(cluster: Cluster, files: SnapshotFiles) -> None:
    name = cluster.api.add(local(metadata=SOME), finalizers=["example.com/other", objects.FINALIZER])
    files.step(True)
    assert len(data(cluster)) == 1
    cluster.api.terminate(f"{objects.COLLECTION}/{name}")
    changed(files)
    files.step(False)
    assert cluster.api.file(name)["metadata"]["finalizers"] == ["example.com/other"]
    assert data(cluster) == {}
    changed(files)
    files.step(False)
    (event,) = events(cluster)
    assert (event["type"], event["reason"]) == ("Normal", "ETCDSnapshotDeleted")
    assert event["message"] == f"Snapshot {local().name} deleted from node1"
    assert event["source"] == {"component": "rke2-supervisor", "host": "node1"}


def test_kubectl_delete_ends(cluster: Cluster, files: SnapshotFiles) -> None:
    cluster.api.define()
    name = cluster.api.add(local())
    cluster.client.delete(f"{objects.COLLECTION}/{name}")
    assert cluster.api.files() == {name}
    files.step(True)
    assert cluster.api.files() == set()


def test_an_object_that_another_changes_is_released_by_the_next_step(
    cluster: Cluster, files: SnapshotFiles
) -> None:
    name = cluster.api.add(local())
    cluster.api.terminate(f"{objects.COLLECTION}/{name}")

    def answer(request: Request) -> Reply:
        if request.method == "PATCH" and request.path.startswith(objects.COLLECTION):
            cluster.api.put(request.path, cluster.api.objects[request.path])
        return cluster.api(request)

    cluster.server.answer = answer
    files.step(True)
    assert cluster.api.files() == {name} and events(cluster) == []
    cluster.server.answer = cluster.api
    changed(files)
    files.step(False)
    assert cluster.api.files() == set()


def test_without_snapshots_with_metadata_there_is_no_config_map(
    cluster: Cluster, files: SnapshotFiles
) -> None:
    cluster.api.add(local())
    files.step(True)
    assert CONFIG_MAP not in cluster.api.objects


def test_the_config_map_follows_the_objects(cluster: Cluster, files: SnapshotFiles) -> None:
    cluster.api.add(local(metadata=SOME))
    cluster.api.add(local(seconds=5))
    files.step(True)
    assert data(cluster) == objects.entries([local(metadata=SOME)])
    second = cluster.api.add(in_s3("node2", metadata=SOME))
    changed(files)
    files.step(False)
    assert data(cluster) == objects.entries([local(metadata=SOME), in_s3("node2", metadata=SOME)])
    del cluster.api.objects[f"{objects.COLLECTION}/{second}"]
    asked(cluster)
    changed(files)
    files.step(False)
    assert data(cluster) == objects.entries([local(metadata=SOME)])
    # What has not changed is not sent.
    (patch,) = [request for request in cluster.server.requests if request.method == "PATCH"]
    assert patch.body == {"data": {objects.key(in_s3("node2")): None}}


def test_a_config_map_that_is_there_is_made_right(cluster: Cluster, files: SnapshotFiles) -> None:
    found = {"local-gone": "{}", "s3-gone": "{}", "not-ours": "a", objects.key(local()): "old"}
    cluster.api.put(CONFIG_MAP, {"metadata": {"name": "rke2-etcd-snapshots"}, "data": found})
    cluster.api.add(local(metadata=SOME))
    files.step(True)
    assert data(cluster) == {"not-ours": "a", **objects.entries([local(metadata=SOME)])}


def test_another_servers_config_map_is_looked_at_again(cluster: Cluster, files: SnapshotFiles) -> None:
    cluster.api.add(local(metadata=SOME))
    files.step(True)
    files.forget()
    cluster.api.objects[CONFIG_MAP]["data"] = {}
    files.step(False)
    assert len(data(cluster)) == 1


def test_without_the_lease_nothing_is_changed(cluster: Cluster, files: SnapshotFiles) -> None:
    cluster.api.define()
    kept = {cluster.api.add(local("node3")), cluster.api.add(local(metadata=SOME))}
    cluster.api.terminate(f"{objects.COLLECTION}/{objects.object_name(local())}")
    cluster.held.clear()
    files.step(True)
    assert cluster.api.files() == kept
    assert {request.method for request in cluster.server.requests} == {"GET"}


@pytest.mark.parametrize("failing", ["GET", "PATCH", "DELETE", "POST"])
def test_what_fails_is_tried_again(cluster: Cluster, files: SnapshotFiles, failing: str) -> None:
    name = cluster.api.add(local("node2", metadata=SOME))
    cluster.api.terminate(f"{objects.COLLECTION}/{name}")
    cluster.api.add(local("node3"), finalizers=[])
    cluster.api.add(local(metadata=SOME))

    def answer(request: Request) -> Reply:
        if request.method == failing:
            return refused(500, "InternalError")
        return cluster.api(request)

    cluster.server.answer = answer
    for _ in range(2):
        with pytest.raises(ApiError):
            files.step(True)
    cluster.server.answer = cluster.api
    files.step(False)
    assert cluster.api.files() == {objects.object_name(local())}
    assert len(data(cluster)) == 1


def test_an_api_that_is_gone_is_a_problem_until_it_is_back(cluster: Cluster, files: SnapshotFiles) -> None:
    cluster.server.answer = lambda request: Reply(cut=True)
    with pytest.raises(ApiUnavailable):
        files.step(True)
    cluster.server.answer = cluster.api
    files.step(False)
    assert DEFINITION in cluster.api.objects


def follow(files: SnapshotFiles, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=files.follow, args=(stop,), daemon=True)
    thread.start()
    return thread


def test_nothing_is_watched_before_the_kind_is_there(cluster: Cluster, files: SnapshotFiles) -> None:
    stop = threading.Event()
    thread = follow(files, stop)
    thread.join(0.1)
    assert thread.is_alive() and asked(cluster) == []
    stop.set()
    files.wake()
    thread.join(10)
    assert not thread.is_alive() and asked(cluster) == []


def test_a_change_of_an_object_is_noticed(cluster: Cluster, files: SnapshotFiles) -> None:
    files.step(True)
    change = threading.Event()
    obj: Any = {"metadata": {"name": "a", "resourceVersion": "9"}}

    def stream() -> Iterator[Object]:
        change.wait(10)
        yield {"type": "ADDED", "object": obj}
        stop.wait(10)

    def answer(request: Request) -> Reply:
        if request.query.get("watch"):
            assert "PartialObjectMetadata" in request.headers["accept"]
            return Reply(stream=stream())
        return cluster.api(request)

    cluster.server.answer = answer
    stop = threading.Event()
    thread = follow(files, stop)
    while not any(request.query.get("watch") for request in cluster.server.requests):
        time.sleep(0.01)
    # What was there already.
    assert files._changed.wait(10)
    files.step(False)
    assert not files._changed.is_set()
    change.set()
    assert files._changed.wait(10)
    stop.set()
    cluster.client.close()
    thread.join(10)
    assert not thread.is_alive()
