import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from rke2_units.certificates.node_request import make_request
from rke2_units.certificates.request import Request
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.daemon import joining
from rke2_units.errors import ConfigurationError
from rke2_units.join import server_list
from rke2_units.join.http import Refused, Unreachable
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.plan.cluster_config import describe_cluster
from rke2_units.plan.node import Node
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.join.supervisor import PASSWORD, Supervisor

FACTS = NodeFacts("agent-1", ("192.0.2.9",))
NOBODY = "https://127.0.0.1:1"
_Answer = TypeVar("_Answer")


def node_of(role: Role, settings: dict[str, object]) -> Node:
    return Node(make_config(role, settings), FACTS, release(DEFAULT))


def agent(settings: dict[str, object]) -> Node:
    return node_of(Role.AGENT, settings)


def ask(question: Callable[[], _Answer]) -> _Answer:
    """Once, where the daemon would ask again."""
    return question()


@pytest.fixture(autouse=True)
def _node_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def below(node: Node) -> Request:
        return replace(make_request(node), node_directory=str(tmp_path / "node"))

    monkeypatch.setattr(joining, "make_request", below)


@pytest.fixture
def settings(tmp_path: Path, supervisor: Supervisor) -> dict[str, object]:
    token = supervisor.token().text()
    return {"data-dir": str(tmp_path / "data"), "server": supervisor.url, "token": token}


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_agent_goes_by_the_values_of_its_cluster(settings: dict[str, object]) -> None:
    config, warning = joining.join_agent(agent(settings), ask)
    assert derived.cluster_dns(config, FACTS) == ("10.45.0.10",)
    assert config.text("cluster-domain") == "cluster.example"
    assert warning is None
    assert os.path.exists(derived.paths(config).kubelet_kubeconfig)


def test_an_agent_with_a_short_token_joins_with_a_warning(settings: dict[str, object]) -> None:
    settings["token"] = PASSWORD
    _, warning = joining.join_agent(agent(settings), ask)
    assert warning and "has no hash" in warning
    settings["token-require-ca-pin"] = True
    with pytest.raises(ConfigurationError, match="token-require-ca-pin is true"):
        joining.join_agent(agent(settings), ask)


def test_an_agent_that_has_joined_starts_without_any_server(
    settings: dict[str, object], tmp_path: Path, supervisor: Supervisor
) -> None:
    joined, _ = joining.join_agent(agent(settings), ask)
    before = files_below(tmp_path)
    Path(Paths(str(tmp_path / "data")).server_list).write_text("{}")
    alone, _ = joining.join_agent(agent({**settings, "server": NOBODY}), ask)
    assert derived.cluster_cidrs(alone, FACTS) == derived.cluster_cidrs(joined, FACTS) == ("10.44.0.0/16",)
    Path(Paths(str(tmp_path / "data")).server_list).write_bytes(
        before[Paths(str(tmp_path / "data")).server_list]
    )
    assert files_below(tmp_path) == before


def test_an_agent_that_has_not_joined_waits_for_a_server(settings: dict[str, object]) -> None:
    settings["server"] = NOBODY
    with pytest.raises(Unreachable, match="Connection refused"):
        joining.join_agent(agent(settings), ask)


def test_the_first_agent_waits_until_the_apiserver_of_its_server_is_ready(
    settings: dict[str, object], supervisor: Supervisor, tmp_path: Path
) -> None:
    waited: list[str] = []

    def ask_again(question: Callable[[], _Answer]) -> _Answer:
        try:
            return question()
        except Unreachable as error:
            waited.append(error.message)
            assert not (tmp_path / "data").exists()
            del supervisor.spoil["/v1-rke2/readyz"]
        return question()

    supervisor.spoils("/v1-rke2/readyz", 503, b"runtime core not ready")
    config, _ = joining.join_agent(agent(settings), ask_again)
    assert os.path.exists(derived.paths(config).kubelet_kubeconfig)
    not_ready = "503 Service Unavailable: runtime core not ready"
    assert waited == [f"{supervisor.url}/v1-rke2/readyz: {not_ready}"]


def test_an_agent_that_has_joined_starts_though_one_server_says_no_while_another_is_down(
    settings: dict[str, object], supervisor: Supervisor
) -> None:
    supervisor.spoils("/v1-rke2/apiservers", 200, b"[]")  # its list of servers: this one
    joining.join_agent(agent(settings), ask)
    supervisor.spoils("/v1-rke2/config", 401, b"no")
    with pytest.raises(Refused, match="401"):
        joining.join_agent(agent(settings), ask)
    alone, _ = joining.join_agent(agent({**settings, "server": NOBODY}), ask)
    assert derived.cluster_cidrs(alone, FACTS) == ("10.44.0.0/16",)


def test_values_that_no_node_can_have_change_nothing(
    settings: dict[str, object], supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.config["ClusterDomain"] = "NOT a domain"
    with pytest.raises(ConfigurationError, match="the cluster's servers: cluster-domain"):
        joining.join_agent(agent(settings), ask)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("missing", "said"), [("server", "server is not set"), ("token", "token is not set")]
)
def test_an_agent_without_server_or_token_needs_a_person(
    settings: dict[str, object], missing: str, said: str
) -> None:
    del settings[missing]
    with pytest.raises(ConfigurationError, match=said):
        joining.join_agent(agent(settings), ask)


@pytest.fixture
def server_settings(settings: dict[str, object], supervisor: Supervisor) -> dict[str, object]:
    settings["token"] = supervisor.token("server").text()
    supervisor.config = describe_cluster(node_of(Role.SERVER, {}))
    return settings


def test_a_server_gets_what_all_servers_share(
    server_settings: dict[str, object], supervisor: Supervisor, tmp_path: Path
) -> None:
    assert joining.join_server(node_of(Role.SERVER, server_settings), ask) is None
    tls = tmp_path / "data/server/tls"
    assert (tls / "client-ca.key").read_bytes() == supervisor.path("tls/client-ca.key").read_bytes()
    assert [path.stat().st_mode & 0o777 for path in (tls.parent, tls, tls / "etcd")] == [0o700] * 3
    before = files_below(tmp_path)
    joining.join_server(node_of(Role.SERVER, server_settings), ask)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("settings_change", "error", "said"),
    [
        ({"cluster-domain": "other.example"}, ConfigurationError, "critical configuration value mismatch"),
        ({"agent-token": "another"}, ConfigurationError, "mismatch between servers: agent-token"),
        ({"token": "abcdef.0123456789abcdef"}, ConfigurationError, "is for agents"),
        ({"token": f"K10{'ab' * 32}::node:x"}, ConfigurationError, "is for agents"),
        ({"token": f"K10{'ab' * 32}::server:x"}, Refused, "token CA hash does not match"),
        ({"server": NOBODY}, Unreachable, "Connection refused"),
    ],
)
def test_a_server_that_cannot_join_writes_nothing(
    server_settings: dict[str, object],
    tmp_path: Path,
    settings_change: dict[str, object],
    error: type[Exception],
    said: str,
) -> None:
    node = node_of(Role.SERVER, {**server_settings, **settings_change})
    with pytest.raises(error, match=said):
        joining.join_server(node, ask)
    assert not (tmp_path / "data").exists()


MEMBERS: list[dict[str, object]] = [
    {"ID": 1, "name": "one-1", "peerURLs": [], "clientURLs": ["https://192.0.2.1:2379"]},
    {"ID": 2, "name": "two-2", "peerURLs": [], "clientURLs": ["https://192.0.2.2:2379"], "isLearner": True},
    {"ID": 3, "name": "", "peerURLs": ["https://192.0.2.3:2380"], "clientURLs": []},
]


def test_a_server_without_etcd_keeps_where_the_members_are_that_vote(
    server_settings: dict[str, object], supervisor: Supervisor
) -> None:
    supervisor.members = MEMBERS
    node = node_of(Role.SERVER, {**server_settings, "disable-etcd": True})
    assert joining.join_server(node, ask) is None
    paths = Paths(str(server_settings["data-dir"]))
    assert server_list.read(paths.server_list).members == ("192.0.2.1:2379",)
    assert os.path.exists(f"{paths.tls}/client-ca.key")
    # From now on it starts without that server.
    joining.join_server(node_of(Role.SERVER, {**config_values(node.config), "server": NOBODY}), ask)


def config_values(config: Config) -> dict[str, object]:
    return {"data-dir": config.text("data-dir"), "token": config.text("token"), "disable-etcd": True}


@pytest.mark.parametrize(
    ("answer", "said"), [([], "no etcd member has started"), ([{"ID": "x"}], "not a list of members")]
)
def test_a_server_without_etcd_waits_until_there_are_members(
    server_settings: dict[str, object], supervisor: Supervisor, answer: list[dict[str, object]], said: str
) -> None:
    supervisor.members = answer
    node = node_of(Role.SERVER, {**server_settings, "disable-etcd": True})
    with pytest.raises(Unreachable, match=said):
        joining.join_server(node, ask)
    assert not os.path.exists(str(server_settings["data-dir"]))


def test_a_member_of_etcd_does_not_become_a_server_without_it_before_it_has_left(
    server_settings: dict[str, object],
) -> None:
    paths = Paths(str(server_settings["data-dir"]))
    Path(paths.etcd_wal).mkdir(parents=True)
    node = node_of(Role.SERVER, {**server_settings, "disable-etcd": True})
    with pytest.raises(ConfigurationError, match=f"{paths.etcd_data}.*annotate node agent-1 .*remove=true"):
        joining.join_server(node, ask)


@pytest.mark.parametrize("has_data", [True, False])
def test_a_server_that_never_started_etcd_asks_to_be_taken_in_anew(
    settings: dict[str, object], has_data: bool
) -> None:
    paths = Paths(str(settings["data-dir"]))
    Path(paths.etcd_wal if has_data else paths.etcd_data).mkdir(parents=True)
    Path(paths.etcd_initial).write_text("{}")
    joining.forget_invitation(make_config(Role.SERVER, {"data-dir": paths.data}))
    assert Path(paths.etcd_initial).exists()
    joining.forget_invitation(make_config(Role.SERVER, settings))
    assert Path(paths.etcd_initial).exists() == has_data
    joining.forget_invitation(make_config(Role.SERVER, settings))


@pytest.mark.parametrize("role", [Role.AGENT, Role.SERVER])
def test_a_token_that_is_refused_is_named_with_its_place_and_what_to_put_there(
    settings: dict[str, object], supervisor: Supervisor, role: Role
) -> None:
    supervisor.passwords.clear()
    settings["token"] = supervisor.token("node" if role is Role.AGENT else "server").text()
    node = node_of(role, settings)
    with pytest.raises(ConfigurationError) as caught:
        join(node)
    assert str(caught.value).startswith(
        f"token ({node.config.source('token')}) is rejected: {supervisor.url}/v1-rke2/"
    )
    assert "401 Unauthorized" in str(caught.value) and PASSWORD not in str(caught.value)
    hint = str(caught.value.hint)
    assert "server/token" in hint and "of a server" in hint and "has expired" in hint
    assert ("agent-token" in hint) == (role is Role.AGENT)


@pytest.mark.parametrize("role", [Role.AGENT, Role.SERVER])
def test_a_server_that_is_an_api_server_is_named_with_the_right_port(
    settings: dict[str, object], supervisor: Supervisor, role: Role
) -> None:
    supervisor.spoils("/cacerts", 401, b"Unauthorized")
    settings["token"] = supervisor.token("node" if role is Role.AGENT else "server").text()
    node = node_of(role, settings)
    with pytest.raises(ConfigurationError) as caught:
        join(node)
    assert str(caught.value).startswith(f"{node.config.source('server')}: server leads elsewhere: ")
    assert "401 Unauthorized" in caught.value.message and "not a server's join API" in caught.value.message
    assert "token" not in caught.value.message
    assert caught.value.hint == "the join API is at port 9345: https://127.0.0.1:9345"


def join(node: Node) -> None:
    if node.role is Role.AGENT:
        joining.join_agent(node, ask)
    else:
        joining.join_server(node, ask)
