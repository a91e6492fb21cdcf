"""The controllers' process: the order of its work, what it says, and how it ends."""

from pathlib import Path

import pytest

from rke2_units.controllers import process
from rke2_units.controllers.process import Work
from rke2_units.controllers.snapshot_files import SnapshotFiles
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError, ExitCode, UserError
from tests.unit.controllers.conftest import Cluster, make_member
from tests.unit.controllers.test_own_node import planned
from tests.unit.kubernetes_api import Reply, Request, refused
from tests.unit.service import ended, statuses
from tests.unit.snapshot_files import DEFINITION


@pytest.fixture
def work(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Work:
    (tmp_path / "password").write_text("0123\n")
    (tmp_path / "roles.yaml").write_text("")
    monkeypatch.setattr(
        "rke2_units.controllers.settings.Settings.etcd", lambda self, at=(): cluster.etcd.at(at)
    )
    monkeypatch.setattr("rke2_units.controllers.own_node.Bootstrap.ensure", lambda self: None)
    found = planned(
        tmp_path, node_password_file=str(tmp_path / "password"), rbac=str(tmp_path / "roles.yaml")
    )
    cluster.etcd.found = [make_member(1), make_member(2, learner=True)]
    cluster.add_node("node1")
    cluster.nodes.synced.set()
    snapshots = SnapshotFiles(cluster.client, cluster.nodes, cluster.held, "node1")
    return Work(found, cluster.client, cluster.nodes, snapshots, cluster.held)


def test_nothing_is_done_before_the_nodes_are_known(cluster: Cluster, work: Work) -> None:
    cluster.nodes.synced.clear()
    work.step()
    assert cluster.server.requests == []


def test_the_holder_does_everything_and_others_see_to_themselves(cluster: Cluster, work: Work) -> None:
    cluster.held.clear()
    work.step()
    cluster.look()
    assert "labels" in cluster.metadata("node1")
    assert [member.is_learner for member in cluster.etcd.found] == [False, True]
    cluster.held.set()
    work.step()
    assert [member.is_learner for member in cluster.etcd.found] == [False, False]
    assert cluster.etcd.values["rke2/apiaddresses"].text == '["192.0.2.1:6443"]'
    assert DEFINITION in cluster.api.objects
    assert work.problems() == []


def test_what_fails_is_said_and_does_not_hold_up_the_rest(
    cluster: Cluster, work: Work, tmp_path: Path
) -> None:
    (tmp_path / "roles.yaml").write_text("a: [")
    (tmp_path / "password").unlink()
    work.step()
    assert not cluster.etcd.found[1].is_learner
    first, second = work.problems()
    assert first.startswith("node password:") and second.startswith("roles:")
    (tmp_path / "roles.yaml").write_text("")
    (tmp_path / "password").write_text("0123\n")
    work.step()
    assert work.problems() == []


@pytest.mark.parametrize("hardened", [False, True])
def test_the_cluster_is_hardened_where_the_profile_says_so(
    tmp_path: Path, cluster: Cluster, work: Work, hardened: bool
) -> None:
    settings = work._settings
    settings.is_hardened = settings.lets_flannel_in = hardened
    cluster.api.put("/api/v1/namespaces/default", {"metadata": {"name": "default"}})
    cluster.held.clear()
    work.step()
    assert cluster.api.applied == []
    cluster.held.set()
    work.step()
    assert any("networkpolicies" in path for path, _ in cluster.api.applied) is hardened
    assert work.problems() == []


def test_etcd_is_asked_seldom_while_nothing_happens(
    cluster: Cluster, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("rke2_units.controllers.process.time.monotonic", lambda: now[0])
    asked: list[float] = []
    cluster.etcd.behind = {2}

    def look(self: object) -> bool:
        asked.append(now[0])
        return any(member.is_learner for member in cluster.etcd.found)

    monkeypatch.setattr("rke2_units.controllers.etcd_members.EtcdMembers.step", look)
    for second in range(40):
        now[0] = second
        if second == 6:
            cluster.etcd.found.pop()
        work.step(changed=second == 25)
    assert asked == [0, 2, 4, 6, 16, 25, 35]


def test_what_is_wrong_with_snapshots_holds_up_nothing_else(cluster: Cluster, work: Work) -> None:
    def answer(request: Request) -> Reply:
        if "customresourcedefinitions" in request.path:
            return refused(403, "Forbidden")
        return cluster.api(request)

    cluster.server.answer = answer
    work.step()
    assert work.problems() == ["snapshots: no"]
    assert "rke2/apiaddresses" in cluster.etcd.values
    cluster.held.clear()
    work.step()
    assert work.problems() == []


def test_problems_of_a_holder_end_with_its_lease(cluster: Cluster, work: Work, tmp_path: Path) -> None:
    (tmp_path / "roles.yaml").write_text("a: [")
    work.step()
    assert len(work.problems()) == 1
    cluster.held.clear()
    work.step()
    assert work.problems() == []


@pytest.mark.parametrize(
    ("holds", "problems", "text"),
    [
        (True, [], "this server manages the cluster's members, roles and node passwords"),
        (False, [], "waiting for the lease: another server holds it"),
        (True, ["etcd: a", "roles: b"], "degraded: etcd: a (and 1 more: journalctl -u rke2-controllers)"),
        (False, ["bootstrap data: a"], "degraded: bootstrap data: a"),
    ],
)
def test_the_status_says_what_is_wrong(holds: bool, problems: list[str], text: str) -> None:
    assert process.status(holds, problems).startswith(text)


def test_errors_are_told_by_what_failed(work: Work) -> None:
    def fail() -> None:
        raise UserError("it is broken", hint="mend it")

    assert not work._do("etcd", fail)
    assert work.problems() == ["etcd: it is broken (mend it)"]


@pytest.mark.parametrize(
    ("error", "level"), [(UserError("later"), Level.WARNING), (ConfigurationError("never"), Level.ERROR)]
)
def test_what_only_a_person_can_mend_is_an_error(
    work: Work, error: UserError, level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[Level, str]] = []
    monkeypatch.setattr(journal, "log", lambda level, text: logged.append((level, text)))

    def fail() -> None:
        raise error

    work._do("node password", fail)
    work._do("node password", fail)
    assert logged == [(level, f"node password: {error}")]


def test_it_is_ready_without_an_apiserver_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    nowhere = {"url": "http://127.0.0.1:1", "authority": "", "certificate": "", "key": ""}
    file = planned(tmp_path, kubernetes=nowhere).file
    begun, stopping = statuses("rke2_units.controllers", file, tmp_path)
    assert begun.startswith("READY=1\nSTATUS=waiting for the lease") and stopping.startswith("STOPPING=1")


def test_without_settings_it_says_what_to_do(tmp_path: Path) -> None:
    child = ended("rke2_units.controllers", str(tmp_path / "none"))
    assert "rke2-server" in child.stderr
    assert child.returncode == ExitCode.CONFIGURATION
