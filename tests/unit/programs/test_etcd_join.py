"""How a server becomes a member of etcd, among others that do the same."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.etcd import Etcd, EtcdError, Member
from rke2_units.programs import etcd_join
from rke2_units.programs.etcd_join import Taken
from tests.unit.join.supervisor import Supervisor
from tests.unit.program_values import make_settings


def peer(number: int) -> str:
    return f"https://192.0.2.{number}:2380"


def member(number: int, *, started: bool = True, learner: bool = False, name: str = "") -> Member:
    called = name or f"node{number}-0000000{number}"
    client = (f"https://192.0.2.{number}:2379",) if started else ()
    return Member(number, called if started else "", (peer(number),), client, learner)


class Cluster(Etcd):
    """Takes servers in as etcd does, one learner at a time."""

    def __init__(self, *found: Member) -> None:
        self.found = list(found)
        self.added: list[tuple[str, str]] = []

    def members(self) -> list[Member]:
        return self.found

    def add_learner(self, name: str, peer_url: str) -> list[Member]:
        if any(each.is_learner for each in self.found):
            raise EtcdError("etcdserver: too many learner members in cluster")
        self.added.append((name, peer_url))
        self.found = [Member(9, "", (peer_url,), (), True), *self.found]
        return self.found


def joined(cluster: Cluster, number: int = 2, seen: list[Member] | None = None) -> str:
    name = f"node{number}-0000000{number}"
    found = cluster.found if seen is None else seen
    members = etcd_join.join(found, cluster, f"node{number}", name, peer(number))
    return etcd_join.initial_cluster(members, name, peer(number))


def test_a_server_becomes_a_learner_and_knows_all_members() -> None:
    cluster = Cluster(member(1), member(3))
    assert joined(cluster) == (
        "node2-00000002=https://192.0.2.2:2380,"
        "node1-00000001=https://192.0.2.1:2380,node3-00000003=https://192.0.2.3:2380"
    )
    assert cluster.added == [("node2-00000002", peer(2))]


def test_an_interrupted_join_goes_on() -> None:
    cluster = Cluster(member(1), member(2, started=False, learner=True))
    assert "node2-00000002=https://192.0.2.2:2380" in joined(cluster)
    assert cluster.added == []


def test_a_member_that_has_started_meanwhile_is_no_other() -> None:
    cluster = Cluster(member(1), member(2, learner=True))
    members = etcd_join.join(cluster.found, cluster, "node2", "node2-00000002", peer(2), has_data=True)
    assert members == cluster.found
    with pytest.raises(Taken):
        etcd_join.join(cluster.found, cluster, "node2", "node2-abcdef01", peer(2), has_data=True)


def test_one_that_has_not_started_gets_some_name() -> None:
    assert joined(Cluster(member(1), member(4, started=False))).endswith(
        "unstarted-4=https://192.0.2.4:2380"
    )


def test_another_learner_is_waited_for() -> None:
    with pytest.raises(EtcdError, match="another server is joining"):
        joined(Cluster(member(1), member(3, learner=True)))
    # Or it came after the list was asked for.
    with pytest.raises(EtcdError, match="too many learner"):
        joined(Cluster(member(1), member(3, learner=True)), seen=[member(1)])


@pytest.mark.parametrize(
    "other",
    [
        member(5, name="node2-0123abcd"),
        member(2),
        member(2, name="other-0123abcd"),
        member(2, learner=True),
    ],
)
def test_a_name_or_an_address_that_is_taken_is_refused(other: Member) -> None:
    cluster = Cluster(member(1), other)
    with pytest.raises(Taken, match="duplicate node name found, please use a unique name for this node"):
        joined(cluster)
    assert cluster.added == []


def test_a_node_whose_name_begins_alike_is_another() -> None:
    assert joined(Cluster(member(1), member(5, name="node2-b-0123abcd"), member(6, name="node-0123abcd")))


@given(st.permutations([1, 2, 3]), st.sets(st.sampled_from([1, 2, 3])))
def test_servers_that_join_at_once_are_all_taken_in_one_after_another(
    order: list[int], interrupted: set[int]
) -> None:
    cluster = Cluster(member(8))
    waiting = list(order)
    for _ in range(20):
        for number in list(waiting):
            try:
                text = joined(cluster, number)
            except EtcdError:
                continue
            if number in interrupted:
                interrupted = interrupted - {number}
                continue
            assert f"node{number}-0000000{number}={peer(number)}" in text.split(",")
            waiting.remove(number)
            # It starts and is promoted.
            cluster.found = [
                member(number) if peer(number) in each.peer_urls else each for each in cluster.found
            ]
    assert not waiting
    assert len(cluster.found) == 4 and len(cluster.added) == 3


def test_only_members_that_vote_and_have_started_are_asked() -> None:
    members = [member(1), member(2, learner=True), member(3, started=False)]
    assert etcd_join.endpoints(members) == ["https://192.0.2.1:2379"]
    with pytest.raises(EtcdError, match="none of etcd's members"):
        etcd_join.endpoints(members[1:])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_waits_as_long_as_it_takes_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(etcd_join, "time", clock)

    def attempt() -> list[Member]:
        if clock.now < 1000:
            raise UserError("https://first:9345/db/info: connection refused")
        if clock.now < 2000:
            raise EtcdError("etcdserver: too many learner members in cluster")
        return [member(1)]

    assert len(etcd_join.until_joined(attempt)) == 1
    assert clock.now == 2000
    said = capsys.readouterr().err
    assert "connection refused" in said and "waiting for another server, which is joining\n" in said


def test_a_name_may_become_free_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(etcd_join, "time", clock)

    def attempt() -> list[Member]:
        if clock.now < 20:
            raise Taken("duplicate node name found")
        return [member(1)]

    assert etcd_join.until_joined(attempt)

    def taken() -> list[Member]:
        raise Taken("duplicate node name found")

    before = clock.now
    with pytest.raises(ConfigurationError, match="duplicate"):
        etcd_join.until_joined(taken)
    assert 30 <= clock.now - before <= 34


def test_what_only_a_person_can_mend_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_join, "time", Clock())

    def attempt() -> list[Member]:
        raise ConfigurationError("https://first:9345/db/info refuses this server's token")

    with pytest.raises(ConfigurationError, match="refuses"):
        etcd_join.until_joined(attempt)


def test_the_values_for_the_first_start_are_a_file_of_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "db/etcd/initial.json"
    for cluster in ("a=https://b:2380", "c=https://d:2380"):
        etcd_join.write_initial(str(path), cluster)
        assert json.loads(path.read_text()) == {
            "initial-cluster": cluster,
            "initial-cluster-state": "existing",
        }
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["initial.json"]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["link", "symlink"])
def test_what_etcds_user_put_in_its_place_is_not_written_to(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    folder = tmp_path / "etcd"
    folder.mkdir()
    planted = folder / "initial.json.new"
    if kind == "link":
        os.link(secret, planted)
    else:
        planted.symlink_to(secret)
    etcd_join.write_initial(str(folder / "initial.json"), "a=https://b:2380")
    assert secret.read_text() == "mine"
    assert json.loads((folder / "initial.json").read_text())["initial-cluster"] == "a=https://b:2380"


def test_settings_without_a_cluster_to_join_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="etcd_join: 'member_name'"):
        etcd_join.program(make_settings(tmp_path), [])


def asked(supervisor: Supervisor, authority: str = "server-ca") -> list[Member]:
    paths = supervisor.request.paths
    return etcd_join.ask_members(supervisor.url, f"{paths.tls}/{authority}.crt", paths.token)


def test_the_first_server_is_asked_for_the_members_with_the_token(supervisor: Supervisor) -> None:
    entry = {"ID": 1, "name": "node1-00000001", "peerURLs": [peer(1)], "clientURLs": ["https://c:2379"]}
    supervisor.spoils("/db/info", body=json.dumps({"members": [entry]}).encode())
    (found,) = asked(supervisor)
    assert (found.identifier, found.name, found.client_urls) == (1, "node1-00000001", ("https://c:2379",))
    ((method, path, headers),) = supervisor.seen
    assert (method, path) == ("GET", "/db/info")
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"server:a secret"


def test_a_server_of_another_authority_is_told_nothing(supervisor: Supervisor) -> None:
    with pytest.raises(UserError, match="certificate verify failed"):
        asked(supervisor, "client-ca")
    assert supervisor.seen == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_a_persons_to_mend(supervisor: Supervisor, status: int) -> None:
    supervisor.spoils("/db/info", status)
    with pytest.raises(ConfigurationError, match=f"refuses this server's token .HTTP {status}") as caught:
        asked(supervisor)
    assert str(caught.value.hint).startswith(f"{supervisor.request.paths.token} must match")


@pytest.mark.parametrize(("status", "body"), [(503, b""), (500, b""), (200, b"<html>"), (200, b"[]")])
def test_any_other_answer_is_waited_out(supervisor: Supervisor, status: int, body: bytes) -> None:
    supervisor.spoils("/db/info", status, body)
    with pytest.raises(UserError) as error:
        asked(supervisor)
    assert not isinstance(error.value, ConfigurationError)
