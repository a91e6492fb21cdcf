"""Events as the API keeps them."""

from collections.abc import Iterator

import pytest

from rke2_units.coordination.events import Events
from rke2_units.doors.kubernetes import Client
from tests.unit.kubernetes_api import ApiServer, Object, Store, refused

CHART = {
    "apiVersion": "helm.cattle.io/v1",
    "kind": "HelmChart",
    "metadata": {"name": "canal", "namespace": "kube-system", "uid": "u1", "labels": {"a": "b"}},
}


@pytest.fixture
def events(server: ApiServer, store: Store) -> Iterator[Events]:
    client = Client(server.url)
    yield Events(client, "rke2-controllers", "node1")
    client.close()


def kept(store: Store) -> list[Object]:
    return list(store.objects.values())


def test_an_event_says_who_what_and_where(events: Events, store: Store) -> None:
    events.record(CHART, "Failed", "no such chart", warning=True)
    (path,) = store.objects
    assert path.startswith("/api/v1/namespaces/kube-system/events/canal.")
    event = store.objects[path]
    assert event["involvedObject"] == {
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChart",
        "name": "canal",
        "namespace": "kube-system",
        "uid": "u1",
    }
    assert event["source"] == {"component": "rke2-controllers", "host": "node1"}
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Failed", "no such chart")
    assert event["firstTimestamp"] == event["lastTimestamp"]


def test_the_same_again_is_a_higher_count(events: Events, store: Store) -> None:
    for _ in range(3):
        events.record(CHART, "Installed", "1.0")
    assert [event["count"] for event in kept(store)] == [3]


@pytest.mark.parametrize(
    ("reason", "message", "name", "warning"),
    [
        ("Upgraded", "1.0", "canal", False),
        ("Installed", "1.1", "canal", False),
        ("Installed", "1.0", "coredns", False),
        ("Installed", "1.0", "canal", True),
    ],
)
def test_another_reason_message_object_or_type_is_another_event(
    events: Events, store: Store, reason: str, message: str, name: str, warning: bool
) -> None:
    events.record(CHART, "Installed", "1.0")
    other = {**CHART, "metadata": {**CHART["metadata"], "name": name}}  # type: ignore[dict-item]
    events.record(other, reason, message, warning=warning)
    assert [event["count"] for event in kept(store)] == [1, 1]


def test_an_event_that_the_api_forgot_begins_anew(events: Events, store: Store) -> None:
    events.record(CHART, "Installed", "1.0")
    events.record(CHART, "Installed", "1.0")
    store.objects.clear()
    events.record(CHART, "Installed", "1.0")
    events.record(CHART, "Installed", "1.0")
    assert [event["count"] for event in kept(store)] == [2]


def test_what_has_no_namespace_is_spoken_of_in_default(events: Events, store: Store) -> None:
    events.record({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}, "Applied", "x")
    (path,) = store.objects
    assert path.startswith("/api/v1/namespaces/default/events/a.")
    assert "namespace" not in store.objects[path]["involvedObject"]


def test_a_long_message_is_cut_to_what_the_api_takes(events: Events, store: Store) -> None:
    events.record(CHART, "Failed", "x" * 5000)
    assert [len(event["message"]) for event in kept(store)] == [1024]


def test_a_refused_event_disturbs_nobody(events: Events, server: ApiServer, store: Store) -> None:
    server.answer = lambda request: refused(403, "Forbidden")
    events.record(CHART, "Installed", "1.0")
    server.answer = store
    events.record(CHART, "Installed", "1.0")
    server.answer = lambda request: refused(500, "InternalError")
    events.record(CHART, "Installed", "1.0")
    assert [event["count"] for event in kept(store)] == [1]


def test_only_so_many_events_are_remembered(
    events: Events, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rke2_units.coordination.events._REMEMBERED", 2)
    for message in ("a", "b", "a", "c", "a", "b"):
        events.record(CHART, "Installed", message)
    assert sorted((event["message"], event["count"]) for event in kept(store)) == [
        ("a", 3),
        ("b", 1),
        ("b", 1),
        ("c", 1),
    ]
