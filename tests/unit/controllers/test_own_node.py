"""What a server does for itself."""

import json
from pathlib import Path

import pytest

from rke2_units.certificates import node_passwords
from rke2_units.controllers import settings
from rke2_units.controllers.own_node import Bootstrap, OwnNode
from rke2_units.controllers.settings import Settings
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean import processes
from rke2_units.lean.processes import Finished
from rke2_units.plan import controllers_settings
from tests.unit.controllers.conftest import Cluster
from tests.unit.plan.cases import make_node

SECRET = f"{node_passwords.COLLECTION}/node1.node-password.rke2"


def planned(folder: Path, **changes: object) -> Settings:
    values = json.loads(controllers_settings.text(make_node()))
    file = folder / "settings.json"
    file.write_text(json.dumps(values | changes))
    return settings.read(str(file))


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("0123456789abcdef\n")
    return path


@pytest.fixture
def own(tmp_path: Path, cluster: Cluster, password: Path) -> OwnNode:
    return OwnNode(planned(tmp_path, node_password_file=str(password)), cluster.client, cluster.nodes)


def test_the_controllers_read_what_the_plan_writes(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert (found.node_name, found.url) == ("node1", "https://127.0.0.1:6443")
    assert found.endpoints == ("https://127.0.0.1:2379",)
    assert found.bootstrap_files["ETCDPeerCAKey"].endswith("/tls/etcd/peer-ca.key")
    assert found.member_name.startswith("node1-")


@pytest.mark.parametrize("change", [{"etcd": {}}, {"bootstrap_files": {"a": 1}}, {"rbac": None}])
def test_settings_that_are_none_say_who_writes_them(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="rke2-server"):
        planned(tmp_path, **change)


def test_a_server_labels_its_own_node_once(cluster: Cluster, own: OwnNode) -> None:
    own.label()
    cluster.add_node("node1", labels={"mine": "yes"})
    cluster.add_node("node2")
    own.label()
    cluster.look()
    labels = cluster.metadata("node1")["labels"]
    assert labels["mine"] == "yes" and labels["node-role.kubernetes.io/etcd"] == "true"
    assert "labels" not in cluster.metadata("node2")
    version = cluster.api.version
    own.label()
    assert cluster.api.version == version


def test_a_node_that_is_being_deleted_is_left_alone(cluster: Cluster, own: OwnNode) -> None:
    cluster.add_node("node1", finalizers=["x"])
    cluster.delete_node("node1")
    own.label()
    assert "labels" not in cluster.metadata("node1")


def test_the_nodes_password_is_kept_as_a_secret(cluster: Cluster, own: OwnNode) -> None:
    own.keep_password()
    assert SECRET not in cluster.api.objects
    cluster.add_node("node1")
    own.keep_password()
    assert node_passwords.is_of(cluster.api.objects[SECRET], "0123456789abcdef")
    # Of another node by this name it has to be kept anew.
    del cluster.api.objects[SECRET]
    own.keep_password()
    assert SECRET not in cluster.api.objects
    cluster.add_node("node1", uid="another")
    own.keep_password()
    assert SECRET in cluster.api.objects


def test_a_password_that_is_there_is_compared(cluster: Cluster, own: OwnNode, password: Path) -> None:
    cluster.add_node("node1")
    cluster.api.put(SECRET, node_passwords.secret("node1", "0123456789abcdef"))
    own.keep_password()
    cluster.add_node("node1", uid="another")
    password.write_text("another\n")
    with pytest.raises(ConfigurationError, match="Node password rejected, duplicate hostname") as error:
        own.keep_password()
    assert str(password) in str(error.value)
    # Another machine may have joined under this name, and keeps its certificate.
    assert "another machine joined as node1: set another node-name on this server" in str(error.value)


def test_a_password_that_was_refused_is_compared_again_after_a_minute(
    cluster: Cluster, own: OwnNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("rke2_units.controllers.own_node.time.monotonic", lambda: now[0])
    cluster.add_node("node1")
    cluster.api.put(SECRET, node_passwords.secret("node1", "another"))
    for moment, questions in ((100, 1), (102, 1), (159, 1), (160, 2)):
        now[0] = moment
        with pytest.raises(ConfigurationError, match="delete the Secret node1.node-password.rke2"):
            own.keep_password()
        assert len(cluster.server.requests) == questions
    del cluster.api.objects[SECRET]
    now[0] = 220
    own.keep_password()
    assert node_passwords.is_of(cluster.api.objects[SECRET], "0123456789abcdef")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Finished]:
    """What the next runs of the program end with, and the clock."""
    left: list[Finished] = []
    monkeypatch.setattr(processes, "run", lambda command, timeout: left.pop(0))
    return left


def test_the_bootstrap_data_is_seen_to_once(tmp_path: Path, runs: list[Finished]) -> None:
    bootstrap = Bootstrap(planned(tmp_path))
    runs.append(Finished(0, "written\n", ""))
    bootstrap.ensure()
    bootstrap.ensure()
    assert runs == []


def test_bootstrap_data_that_is_not_right_is_a_problem_until_it_is(
    tmp_path: Path, runs: list[Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("rke2_units.controllers.own_node.time.monotonic", lambda: now[0])
    bootstrap = Bootstrap(planned(tmp_path))
    runs += [Finished(78, "", "encrypted with different token\n"), Finished(1, "", "no etcd\n")]
    for moment, words in ((0, "different token"), (4, "different token"), (6, "no etcd"), (14, "no etcd")):
        now[0] = moment
        with pytest.raises(UserError, match=words):
            bootstrap.ensure()
    runs.append(Finished(0, "", ""))
    now[0] = 17
    bootstrap.ensure()
