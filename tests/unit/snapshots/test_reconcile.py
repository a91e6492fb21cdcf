"""What a server tells the cluster of its snapshots, over real HTTP."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rke2_units.doors import journal
from rke2_units.doors.kubernetes import Client
from rke2_units.snapshots import objects
from rke2_units.snapshots.objects import Verification
from rke2_units.snapshots.reconcile import LOCAL_ANNOTATION, S3_ANNOTATION, reconcile
from rke2_units.snapshots.snapshot import Snapshot
from tests.unit.kubernetes_api import ApiServer, Object, Reply, Request, refused, unused_port
from tests.unit.snapshot_files import DEFINITION, SnapshotStore, ago, in_s3, local

NODE = "/api/v1/nodes/node1"
HOUR = timedelta(hours=1)


@pytest.fixture
def store(server: ApiServer) -> SnapshotStore:
    store = SnapshotStore()
    store.define()
    store.put(
        NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1", "annotations": {"a": "b"}}}
    )
    server.answer = store
    return store


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The warnings."""
    lines: list[str] = []
    monkeypatch.setattr(journal, "log", lambda level, text: lines.append(text))
    yield lines


def run(client: Client, found: Iterable[Snapshot] = (), **values: Any) -> bool:
    return reconcile(client, list(found), **{"node": "node1", "with_s3": False, **values})


def names(snapshots: Iterable[Snapshot]) -> set[str]:
    return {objects.object_name(snapshot) for snapshot in snapshots}


def events(store: SnapshotStore) -> list[tuple[str, str, str]]:
    found = [obj for path, obj in store.objects.items() if "/events/" in path]
    assert all(event["source"] == {"component": "rke2-supervisor", "host": "node1"} for event in found)
    return [(event["type"], event["reason"], event["message"]) for event in found]


def annotations(store: SnapshotStore) -> dict[str, str]:
    found: dict[str, str] = store.objects[NODE]["metadata"]["annotations"]
    return found


def requests(server: ApiServer, *methods: str) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.requests if request.method in methods]


def test_what_is_found_gets_an_object_and_an_event(
    client: Client, store: SnapshotStore, said: list[str]
) -> None:
    found = [local(), in_s3("node2", seconds=5)]
    assert run(client, found, with_s3=True)
    assert store.files() == names(found)
    assert objects.of_object(store.file(objects.object_name(found[0]))) == found[0]
    assert events(store) == [
        ("Normal", "ETCDSnapshotCreated", f"Snapshot {found[0].name} saved on node1"),
        ("Normal", "ETCDSnapshotCreated", "Snapshot etcd-snapshot-node2-5 saved on node2"),
    ]
    assert said == []


def test_an_event_is_of_the_object_that_was_created(client: Client, store: SnapshotStore) -> None:
    run(client, [local()])
    (event,) = [
        obj for path, obj in store.objects.items() if path.startswith("/api/v1/namespaces/default/events/")
    ]
    assert event["involvedObject"]["kind"] == "ETCDSnapshotFile"
    assert event["involvedObject"]["uid"] == "u"


def test_a_second_run_changes_nothing_but_the_time(
    client: Client, store: SnapshotStore, server: ApiServer
) -> None:
    found = [local(seconds=second) for second in range(50)] + [in_s3(seconds=7)]
    run(client, found, with_s3=True)
    server.requests.clear()
    assert run(client, found, with_s3=True)
    assert requests(server, "POST", "PATCH", "DELETE") == [f"PATCH {NODE}"]
    # In pages of 20.
    assert [request.query["limit"] for request in server.requests if request.method == "GET"] == ["20"] * 3


def test_the_node_says_when(client: Client, store: SnapshotStore) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    run(client)
    assert annotations(store).keys() == {"a", LOCAL_ANNOTATION}
    run(client, with_s3=True)
    for name in (LOCAL_ANNOTATION, S3_ANNOTATION):
        assert before <= datetime.fromisoformat(annotations(store)[name]) <= datetime.now(UTC)


def test_a_node_that_has_not_registered_is_no_problem(
    client: Client, store: SnapshotStore, said: list[str]
) -> None:
    del store.objects[NODE]
    assert run(client, [local()])
    assert said == []


def test_only_what_this_server_can_see_is_compared(client: Client, store: SnapshotStore) -> None:
    others = {store.add(local("node2")), store.add(in_s3())}
    gone = store.add(local(seconds=5))
    run(client)
    assert store.files() == {*others, gone}
    assert "deletionTimestamp" in store.file(gone)["metadata"]
    run(client, with_s3=True)
    assert {name for name in others if "deletionTimestamp" in store.file(name)["metadata"]} == names(
        [in_s3()]
    )


DAY = timedelta(hours=24)


@pytest.mark.parametrize(
    ("snapshot", "age", "deleted", "stays"),
    [
        (local(), timedelta(), (), False),
        (local(), HOUR, (), False),
        (in_s3(), timedelta(seconds=50), (), True),
        (in_s3(), timedelta(seconds=70), (), False),
        (local(error="e", created=ago(hours=23)), HOUR, (), True),
        (local(error="e", created=ago(hours=25)), HOUR, (), False),
        (in_s3(error="e", created=ago(hours=23)), DAY, (), True),
        (in_s3(error="e", created=ago(hours=25)), timedelta(), (), False),
        # On purpose.
        (in_s3(), timedelta(), (in_s3().name,), False),
        (local(error="e", created=ago(hours=1)), HOUR, (local().name,), False),
        (in_s3(), timedelta(), ("another",), True),
    ],
)
def test_what_is_not_there_any_more_goes_after_its_time(
    client: Client,
    store: SnapshotStore,
    snapshot: Snapshot,
    age: timedelta,
    deleted: tuple[str, ...],
    stays: bool,
) -> None:
    name = store.add(snapshot, age=age, finalizers=[])
    assert run(client, with_s3=True, deleted=deleted)
    assert store.files() == ({name} if stays else set())


def test_what_is_still_there_stays_although_it_was_to_be_deleted(
    client: Client, store: SnapshotStore
) -> None:
    # The delete of one of two copies has failed.
    found = in_s3()
    name = store.add(found)
    run(client, [found], with_s3=True, deleted=[found.name])
    assert "deletionTimestamp" not in store.file(name)["metadata"]


def test_an_object_with_another_name_is_replaced(client: Client, store: SnapshotStore) -> None:
    # The folder of snapshots has moved.
    store.add(local(), finalizers=[])
    moved = local(location=f"file:///elsewhere/{local().name}")
    run(client, [moved])
    assert store.files() == names([moved])


def test_an_object_that_was_deleted_by_hand_is_made_anew(client: Client, store: SnapshotStore) -> None:
    name = store.add(local())
    store.terminate(f"{objects.COLLECTION}/{name}")
    # The controllers have not released it yet.
    assert run(client, [local()])
    assert "deletionTimestamp" in store.file(name)["metadata"]
    del store.objects[f"{objects.COLLECTION}/{name}"]
    run(client, [local()])
    assert "deletionTimestamp" not in store.file(name)["metadata"]


def test_failures_are_shown(client: Client, store: SnapshotStore) -> None:
    failed = [
        local(size=0, location="", error="no space\nleft"),
        in_s3(size=0, location="", error="403 Forbidden"),
    ]
    run(client, failed=failed, with_s3=True)
    assert store.files() == names(failed)
    assert store.file(objects.object_name(failed[0]))["status"]["error"]["message"] == "no space left"
    assert events(store) == [
        ("Warning", "ETCDSnapshotFailed", f"Failed to save snapshot {local().name} on node1: no space left"),
        ("Warning", "ETCDSnapshotFailed", f"Failed to save snapshot {local().name} on node1: 403 Forbidden"),
    ]
    # The next run leaves them for a day.
    for path in [path for path in store.objects if path.startswith(objects.COLLECTION)]:
        store.objects[path]["status"]["error"]["time"] = objects.time_text(ago(hours=2))
    run(client, with_s3=True)
    assert store.files() == names(failed)


def test_an_upload_that_succeeded_after_all_is_no_failure(client: Client, store: SnapshotStore) -> None:
    name = store.add(in_s3(size=0, error="timed out", created=ago(hours=1)))
    found = in_s3(created=ago(hours=1))
    assert objects.object_name(found) == name
    run(client, [found], with_s3=True)
    assert objects.of_object(store.file(name)) == found
    assert "error" not in store.file(name)["status"]


VERIFIED = Verification(local().name, ago(minutes=5), ok=True, message="restored at revision 7")


def verified(store: SnapshotStore, name: str) -> list[str]:
    return [each["message"] for each in store.file(name)["status"].get("conditions", [])]


def test_the_result_of_a_verification_is_on_the_object(
    client: Client, store: SnapshotStore, server: ApiServer
) -> None:
    found = [local(), local(seconds=5), in_s3()]
    run(client, found, with_s3=True)
    run(client, found, with_s3=True, verified=VERIFIED)
    by_name = {name: verified(store, name) for name in store.files()}
    assert by_name == {name: [] for name in names(found)} | {
        objects.object_name(local()): [VERIFIED.message]
    }
    server.requests.clear()
    run(client, found, with_s3=True, verified=VERIFIED)
    assert requests(server, "PATCH") == [f"PATCH {NODE}"]
    run(client, found, with_s3=True, verified=replace(VERIFIED, ok=False, message="cut off"))
    assert verified(store, objects.object_name(local())) == ["cut off"]
    # It says nothing of other runs' results.
    run(client, found, with_s3=True)
    assert verified(store, objects.object_name(local())) == ["cut off"]


def test_an_object_that_is_made_anew_keeps_its_result(client: Client, store: SnapshotStore) -> None:
    run(client, [local()], verified=VERIFIED)
    assert verified(store, objects.object_name(local())) == [VERIFIED.message]


def test_two_servers_that_reconcile_at_once_make_one_object_each(
    server: ApiServer, store: SnapshotStore, said: list[str]
) -> None:
    both = threading.Barrier(2, timeout=20)
    lock = threading.Lock()
    waited: set[int] = set()

    def answer(request: Request) -> Reply:
        with lock:
            reply = store(request)
        if (
            request.path == objects.COLLECTION
            and request.method == "GET"
            and request.connection not in waited
        ):
            # Each has its list before either of them creates anything.
            waited.add(request.connection)
            both.wait()
        return reply

    server.answer = answer
    found = [in_s3(seconds=second) for second in range(30)]
    results = []

    def work(node: str) -> None:
        own = Client(server.url, timeout=20)
        results.append(reconcile(own, [*found, local(node)], node=node, with_s3=True))
        own.close()

    threads = [threading.Thread(target=work, args=(node,)) for node in ("node1", "node2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]
    assert store.files() == names([*found, local("node1"), local("node2")])
    assert len([path for path in store.objects if "/events/" in path]) == 32
    assert said == []


def test_one_that_was_uploaded_after_the_list_was_made_stays(client: Client, store: SnapshotStore) -> None:
    # Another server has uploaded it and created its object meanwhile.
    new = store.add(in_s3("node2"), age=timedelta(seconds=2))
    run(client, [], with_s3=True)
    assert "deletionTimestamp" not in store.file(new)["metadata"]


def test_without_the_kind_a_warning_says_so(client: Client, store: SnapshotStore, said: list[str]) -> None:
    del store.objects[DEFINITION]
    assert not run(client, [local()], failed=[local(seconds=5, error="e")])
    (warning,) = said
    assert "the API does not have this kind yet" in warning and "the next reconcile tries again" in warning
    store.define()
    assert run(client, [local()])
    assert store.files() == names([local()])


def test_without_an_api_a_warning_says_so(said: list[str]) -> None:
    client = Client(f"http://127.0.0.1:{unused_port()}")
    assert not run(client, [local()], failed=[local(seconds=5, error="e")])
    (warning,) = said
    assert "does not answer" in warning
    client.close()


def test_what_the_api_refuses_does_not_hold_up_the_rest(
    client: Client, store: SnapshotStore, server: ApiServer, said: list[str]
) -> None:
    bad = {objects.object_name(local(seconds=second)) for second in (2, 3)}

    def answer(request: Request) -> Reply:
        if request.method == "POST" and request.body["metadata"]["name"] in bad:
            return refused(422, "Invalid", "it is too long")
        return store(request)

    server.answer = answer
    found = [local(seconds=second) for second in range(5)]
    assert not run(client, found)
    assert store.files() == names(found) - bad
    assert LOCAL_ANNOTATION in annotations(store)
    (warning,) = said
    assert "etcd-snapshot-node1-2: it is too long (and 1 more)" in warning


def test_an_object_that_goes_at_the_same_time_is_no_problem(
    client: Client, store: SnapshotStore, server: ApiServer, said: list[str]
) -> None:
    name = store.add(local(seconds=5), finalizers=[])

    def answer(request: Request) -> Reply:
        if request.method == "DELETE":
            del store.objects[f"{objects.COLLECTION}/{name}"]
        return store(request)

    server.answer = answer
    assert run(client)
    assert said == []


def test_what_another_has_changed_is_seen_to_by_the_next_run(
    client: Client, store: SnapshotStore, server: ApiServer, said: list[str]
) -> None:
    run(client, [local()])

    def answer(request: Request) -> Reply:
        if request.method == "PATCH" and request.path.startswith(objects.COLLECTION):
            obj: Object = store.objects[request.path]
            store.put(request.path, obj)
        return store(request)

    server.answer = answer
    assert not run(client, [local()], verified=VERIFIED)
    server.answer = store
    assert run(client, [local()], verified=VERIFIED)
    assert verified(store, objects.object_name(local())) == [VERIFIED.message]


def test_files_that_cannot_be_objects_are_passed_over(
    client: Client, store: SnapshotStore, said: list[str]
) -> None:
    assert run(client, [in_s3(name="a\x1b[2J"), local()], with_s3=True)
    assert store.files() == names([local()])
    (notice,) = said
    assert "1 of 2 snapshots get no ETCDSnapshotFile" in notice
