"""etcd's members follow the cluster's nodes."""

import pytest

from rke2_units.controllers.etcd_members import EtcdMembers
from rke2_units.controllers.members import STALLED, WATCHED
from rke2_units.controllers.nodes import ETCD, FINALIZER, NODE_NAME, REMOVE, REMOVED
from rke2_units.coordination.events import Events
from rke2_units.errors import UserError
from rke2_units.lean.etcd import EtcdError, Member
from tests.unit.controllers.conftest import Cluster, make_member


@pytest.fixture
def controller(cluster: Cluster) -> EtcdMembers:
    events = Events(cluster.client, "rke2-controllers", "node1")
    return EtcdMembers(cluster.etcd.at, cluster.client, events, cluster.nodes, cluster.held)


def three(cluster: Cluster) -> None:
    cluster.etcd.found = [make_member(number) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        cluster.add_node(f"node{number}")


def step(cluster: Cluster, controller: EtcdMembers) -> bool:
    busy = controller.step()
    cluster.look()
    return busy


def left(cluster: Cluster) -> list[int]:
    return [member.identifier for member in cluster.etcd.found]


def conditions(cluster: Cluster) -> list[tuple[str, str]]:
    return [
        (path, body["status"]["conditions"][0]["status"])
        for path, body in cluster.api.applied
        if path.endswith("/status")
    ]


def test_a_learner_that_has_caught_up_votes_and_its_node_says_so(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    cluster.etcd.found = [make_member(1), make_member(2, learner=True)]
    cluster.etcd.behind = {2}
    cluster.add_node("node1")
    cluster.add_node("node2")
    assert step(cluster, controller)
    assert conditions(cluster) == [
        ("/api/v1/nodes/node1/status", "True"),
        ("/api/v1/nodes/node2/status", "False"),
    ]
    cluster.etcd.behind = set()
    assert not step(cluster, controller)
    assert not cluster.etcd.found[1].is_learner
    assert conditions(cluster)[2:] == [("/api/v1/nodes/node2/status", "True")]
    # Said once.
    step(cluster, controller)
    assert len(conditions(cluster)) == 3


def test_a_learner_is_promoted_before_it_has_a_node(cluster: Cluster, controller: EtcdMembers) -> None:
    cluster.etcd.found = [make_member(1), make_member(2, learner=True)]
    step(cluster, controller)
    assert not any(member.is_learner for member in cluster.etcd.found)


def test_a_deleted_node_goes_after_its_member(cluster: Cluster, controller: EtcdMembers) -> None:
    three(cluster)
    assert not step(cluster, controller)
    assert cluster.metadata("node3")["finalizers"] == [FINALIZER]
    cluster.etcd.silent = {3}
    cluster.delete_node("node3")
    assert "node3" in cluster.nodes.metadata()
    assert step(cluster, controller)
    assert left(cluster) == [1, 2]
    assert "node3" not in cluster.nodes.metadata()


def test_finalizers_of_others_stay(cluster: Cluster, controller: EtcdMembers) -> None:
    three(cluster)
    cluster.add_node("node3", finalizers=["example.com/other"])
    step(cluster, controller)
    assert cluster.metadata("node3")["finalizers"] == ["example.com/other", FINALIZER]
    cluster.delete_node("node3")
    step(cluster, controller)
    assert cluster.metadata("node3")["finalizers"] == ["example.com/other"]


def test_a_member_that_the_rest_cannot_do_without_stays_and_its_node_says_why(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    three(cluster)
    step(cluster, controller)
    cluster.etcd.silent = {2}
    cluster.delete_node("node3")
    step(cluster, controller)
    assert left(cluster) == [1, 2, 3]
    assert FINALIZER in cluster.metadata("node3")["finalizers"]
    (event,) = [body for path, body in cluster.api.applied if path.endswith("/events")]
    assert event["involvedObject"]["name"] == "node3"
    assert "1 would be healthy, 2 are required" in event["message"]
    cluster.etcd.silent = set()
    step(cluster, controller)
    assert left(cluster) == [1, 2]


def test_the_only_server_can_delete_its_node_and_keeps_its_data(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    cluster.etcd.found = [make_member(1)]
    cluster.add_node("node1")
    step(cluster, controller)
    cluster.delete_node("node1")
    step(cluster, controller)
    assert left(cluster) == [1]
    assert cluster.nodes.metadata() == {}


def test_agents_have_nothing_to_do_with_it(cluster: Cluster, controller: EtcdMembers) -> None:
    three(cluster)
    cluster.add_node("node")
    cluster.add_node("agent")
    step(cluster, controller)
    assert "finalizers" not in cluster.metadata("agent") and "finalizers" not in cluster.metadata("node")
    cluster.delete_node("agent")
    step(cluster, controller)
    assert left(cluster) == [1, 2, 3]


@pytest.mark.parametrize("labels", [{}, {"node-role.kubernetes.io/worker": "true"}])
@pytest.mark.parametrize("wish", [{}, {REMOVE: "true"}, {REMOVE: "true", REMOVED: "node1-00000001"}])
def test_an_agents_node_that_names_a_servers_member_takes_nobody_along(
    cluster: Cluster, controller: EtcdMembers, wish: dict[str, str], labels: dict[str, str]
) -> None:
    three(cluster)
    notes = {NODE_NAME: "node2-00000002", **wish}
    cluster.add_node("agent", labels=labels, annotations=notes, finalizers=[FINALIZER])
    step(cluster, controller)
    step(cluster, controller)
    assert left(cluster) == [1, 2, 3]
    cluster.delete_node("agent")
    step(cluster, controller)
    assert left(cluster) == [1, 2, 3]
    assert "agent" not in cluster.nodes.metadata()


def test_a_server_whose_node_has_a_new_name_goes_with_the_member_that_is_written_on_it(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    cluster.etcd.found = [make_member(number) for number in (1, 2, 3)]
    notes = {NODE_NAME: "node3-00000003", REMOVE: "true"}
    cluster.add_node("renamed", labels={ETCD: "true"}, annotations=notes)
    step(cluster, controller)
    assert left(cluster) == [1, 2]
    step(cluster, controller)
    assert cluster.metadata("renamed")["annotations"] == {**notes, REMOVED: "node3-00000003"}


def test_who_takes_a_deleted_nodes_place_is_not_removed_with_it(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    three(cluster)
    cluster.add_node("node3", annotations={NODE_NAME: "node3-00000003"})
    step(cluster, controller)
    cluster.delete_node("node3")
    successor = make_member(3, learner=True, name="node3-abcdef01")
    cluster.etcd.found = [make_member(1), make_member(2), successor]
    step(cluster, controller)
    assert [member.name for member in cluster.etcd.found][2] == "node3-abcdef01"
    assert "node3" not in cluster.nodes.metadata()


def test_a_member_goes_at_a_persons_wish_and_comes_back_as_another(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    three(cluster)
    cluster.add_node("node3", annotations={REMOVE: "true"})
    step(cluster, controller)
    assert left(cluster) == [1, 2]
    assert cluster.metadata("node3")["annotations"] == {REMOVE: "true", REMOVED: "node3-00000003"}
    step(cluster, controller)
    cluster.etcd.found.append(make_member(4, name="node3-abcdef01"))
    step(cluster, controller)
    assert cluster.metadata("node3")["annotations"] == {}
    step(cluster, controller)
    assert left(cluster) == [1, 2, 4]


@pytest.mark.parametrize("is_back", [False, True])
def test_a_member_that_has_come_back_stays_although_its_removal_was_not_written_down(
    cluster: Cluster, controller: EtcdMembers, is_back: bool
) -> None:
    three(cluster)
    cluster.add_node("node3", annotations={REMOVE: "true", NODE_NAME: "node3-00000003"})
    cluster.etcd.remove(3)
    successor = make_member(4, learner=True, name="node3-abcdef01")
    if is_back:
        cluster.etcd.found.append(successor)
    step(cluster, controller)
    notes = cluster.metadata("node3")["annotations"]
    assert notes == {REMOVE: "true", NODE_NAME: "node3-00000003", REMOVED: "node3-00000003"}
    if not is_back:
        cluster.etcd.found.append(successor)
    cluster.add_node("node3", annotations={**notes, NODE_NAME: "node3-abcdef01"})
    step(cluster, controller)
    assert cluster.metadata("node3")["annotations"] == {NODE_NAME: "node3-abcdef01"}
    step(cluster, controller)
    assert left(cluster) == [1, 2, 4]


def test_a_wish_to_remove_a_node_that_never_had_a_member_is_not_fulfilled(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    three(cluster)
    cluster.add_node("node4", annotations={REMOVE: "true"})
    step(cluster, controller)
    assert cluster.metadata("node4")["annotations"] == {REMOVE: "true"}


@pytest.mark.parametrize(
    "learner", [make_member(2, learner=True, started=False), make_member(2, learner=True)]
)
def test_a_learner_that_stands_still_makes_room_after_five_minutes(
    cluster: Cluster, controller: EtcdMembers, monkeypatch: pytest.MonkeyPatch, learner: Member
) -> None:
    now = [0.0]
    monkeypatch.setattr("rke2_units.controllers.etcd_members.time.monotonic", lambda: now[0])
    cluster.etcd.found = [make_member(1), learner]
    cluster.etcd.behind = {2}
    assert step(cluster, controller)
    while now[0] + WATCHED < STALLED:
        now[0] += WATCHED
        step(cluster, controller)
    now[0] = STALLED - 1
    step(cluster, controller)
    assert left(cluster) == [1, 2]
    now[0] = STALLED
    step(cluster, controller)
    assert left(cluster) == [1]


def test_a_learner_is_not_blamed_for_the_time_without_a_quorum(
    cluster: Cluster, controller: EtcdMembers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_leader() -> list[Member]:
        raise EtcdError("etcdserver: no leader")

    now = [0.0]
    monkeypatch.setattr("rke2_units.controllers.etcd_members.time.monotonic", lambda: now[0])
    cluster.etcd.found = [make_member(1), make_member(2, learner=True)]
    cluster.etcd.behind = {2}
    step(cluster, controller)
    with monkeypatch.context() as outage:
        outage.setattr(cluster.etcd, "members", no_leader)
        while now[0] < STALLED:
            now[0] += WATCHED / 2
            with pytest.raises(EtcdError):
                step(cluster, controller)
    step(cluster, controller)
    assert left(cluster) == [1, 2]


def test_who_has_lost_the_lease_changes_nothing(cluster: Cluster, controller: EtcdMembers) -> None:
    three(cluster)
    step(cluster, controller)
    cluster.etcd.found.append(make_member(4, learner=True))
    cluster.delete_node("node3")
    cluster.api.applied.clear()
    before = dict(cluster.api.objects)
    cluster.held.clear()
    step(cluster, controller)
    assert left(cluster) == [1, 2, 3, 4]
    assert cluster.etcd.found[3].is_learner
    assert cluster.api.objects == before and cluster.api.applied == []


def test_a_node_that_changed_meanwhile_is_tried_again(cluster: Cluster, controller: EtcdMembers) -> None:
    three(cluster)
    path = "/api/v1/nodes/node1"
    cluster.api.put(path, cluster.api.objects[path])
    step(cluster, controller)
    assert "finalizers" not in cluster.metadata("node1")
    step(cluster, controller)
    assert cluster.metadata("node1")["finalizers"] == [FINALIZER]


def test_an_api_that_does_not_answer_is_an_error_that_explains(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    three(cluster)
    cluster.client.close()
    with pytest.raises(UserError):
        controller.step()


def test_the_old_node_of_a_server_with_a_new_host_name_goes_without_its_member(
    cluster: Cluster, controller: EtcdMembers
) -> None:
    three(cluster)
    step(cluster, controller)
    # It registers as a new node, and keeps its member and its name.
    notes = {NODE_NAME: "node3-00000003"}
    cluster.add_node("renamed", labels={ETCD: "true"}, annotations=notes)
    old = {**cluster.metadata("node3"), "labels": {ETCD: "true"}, "annotations": notes}
    cluster.add_node(**old)
    cluster.delete_node("node3")
    step(cluster, controller)
    assert left(cluster) == [1, 2, 3]
    assert "node3" not in cluster.nodes.metadata()
    # The new one is held until its member is gone, like every other.
    cluster.delete_node("renamed")
    assert "renamed" in cluster.nodes.metadata()
    step(cluster, controller)
    assert left(cluster) == [1, 2]
    assert "renamed" not in cluster.nodes.metadata()
