"""What is known of nodes, and what servers write on them."""

import threading

import pytest

from rke2_units.controllers import nodes
from rke2_units.controllers.nodes import Nodes
from rke2_units.doors.kubernetes import Client, Object
from tests.unit.kubernetes_api import Reply, Request, served


def metadata(name: str, version: int = 1, **more: object) -> Object:
    return {"name": name, "uid": f"uid-of-{name}", "resourceVersion": str(version), **more}


def known() -> Nodes:
    return Nodes(Client("http://127.0.0.1:1"))


def test_nodes_come_change_and_go() -> None:
    found = known()
    found.note("ADDED", metadata("a"))
    found.note("ADDED", metadata("b", labels={"x": "y"}))
    assert found.metadata()["b"]["labels"] == {"x": "y"}
    found.note("DELETED", {"name": "a"})
    assert found.metadata().keys() == {"b"}
    assert found.gone() == {"a"}
    found.note("ADDED", metadata("a", 2))
    assert found.gone() == set()


def test_a_deletion_is_forgotten_after_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("rke2_units.controllers.nodes.time.monotonic", lambda: now[0])
    found = known()
    found.note("DELETED", {"name": "a"})
    now[0] = 129
    assert found.gone() == {"a"}
    now[0] = 131
    assert found.gone() == set()


def test_what_kubelets_write_all_the_time_is_no_change_but_its_version_counts() -> None:
    found = known()
    found.note("ADDED", metadata("a"))
    assert found.changed.is_set()
    found.changed.clear()
    found.note("MODIFIED", metadata("a", 2, managedFields=[{"manager": "kubelet"}]))
    assert not found.changed.is_set()
    assert found.metadata()["a"]["resourceVersion"] == "2"
    assert "managedFields" not in found.metadata()["a"]
    for change in ({"labels": {"a": "b"}}, {"finalizers": ["x"]}, {"deletionTimestamp": "now"}):
        found.changed.clear()
        found.note("MODIFIED", metadata("a", 3, **change))
        assert found.changed.is_set()


def test_a_watch_keeps_them_up_to_date() -> None:
    def answer(request: Request) -> Reply:
        if "watch" in request.query:
            return Reply(stream=[{"type": "ADDED", "object": {"metadata": metadata("b", 2)}}])
        kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        items = [{"metadata": metadata("a")}]
        return Reply(body={**kind, "metadata": {"resourceVersion": "1"}, "items": items})

    with served() as server:
        server.answer = answer
        client = Client(server.url)
        found, stop = Nodes(client), threading.Event()
        thread = threading.Thread(target=found.follow, args=(stop,))
        thread.start()
        try:
            assert found.synced.wait(10)
            while "b" not in found.metadata():
                assert found.changed.wait(10)
                found.changed.clear()
        finally:
            stop.set()
            client.close()
            thread.join(10)
    assert found.metadata().keys() == {"a", "b"}
    assert not thread.is_alive()


def test_a_server_has_rke2s_labels_and_annotations() -> None:
    told = {"rke2.io/hostname": "node1", "rke2.io/internal-ip": "192.0.2.1"}
    assert nodes.own_metadata("node1-01234567", "192.0.2.1", told) == {
        "labels": {"node-role.kubernetes.io/control-plane": "true", "node-role.kubernetes.io/etcd": "true"},
        "annotations": {
            "etcd.rke2.cattle.io/node-name": "node1-01234567",
            "etcd.rke2.cattle.io/node-address": "192.0.2.1",
            "rke2.io/hostname": "node1",
            "rke2.io/internal-ip": "192.0.2.1",
        },
    }


def test_a_server_says_what_it_is_for_and_takes_back_what_it_was_for() -> None:
    wanted = nodes.own_metadata("", "192.0.2.1", {}, control_plane=True)
    was = {
        "labels": {nodes.CONTROL_PLANE: "true", nodes.ETCD: "true"},
        "annotations": {nodes.NODE_NAME: "a-1"},
    }
    assert nodes.missing(was, wanted) == {"labels": {nodes.ETCD: None}}
    assert nodes.missing({}, wanted) == {"labels": {nodes.CONTROL_PLANE: "true"}}
    etcd_alone = nodes.own_metadata("a-1", "192.0.2.1", {}, control_plane=False)
    assert nodes.missing(was, etcd_alone) == {
        "labels": {nodes.CONTROL_PLANE: None},
        "annotations": {nodes.NODE_ADDRESS: "192.0.2.1"},
    }


@pytest.mark.parametrize(
    ("present", "patch"),
    [
        ({}, {"labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}}),
        ({"labels": {"a": "1", "b": "2", "z": "9"}, "annotations": {"c": "3"}}, {}),
        ({"labels": {"a": "0", "b": "2"}, "annotations": {"c": "3"}}, {"labels": {"a": "1"}}),
    ],
)
def test_only_what_is_missing_is_written(present: Object, patch: Object) -> None:
    wanted = {"labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}}
    assert nodes.missing(present, wanted) == patch


@pytest.mark.parametrize(
    ("votes", "status", "reason"), [(True, "True", "MemberNotLearner"), (False, "False", "MemberIsLearner")]
)
def test_a_vote_is_a_condition_of_the_node(votes: bool, status: str, reason: str) -> None:
    applied = nodes.voter_condition("node1", votes)
    assert applied["metadata"] == {"name": "node1"}
    (condition,) = applied["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("EtcdIsVoter", status, reason)
