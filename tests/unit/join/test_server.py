import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rke2_units.certificates import bootstrap
from rke2_units.certificates.ensure import ensure
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.join import server
from rke2_units.join.http import Refused, Unreachable
from rke2_units.join.server import Server
from rke2_units.layout import Paths
from tests.unit.join.supervisor import PASSWORD, Supervisor, config, now, other_authority, request

BOOTSTRAP = "/v1-rke2/server-bootstrap"


@pytest.fixture
def joining(tmp_path: Path, supervisor: Supervisor) -> Server:
    return Server(Paths(str(tmp_path / "data")), supervisor.token("server"), PASSWORD, config())


def spoil(supervisor: Supervisor, change: Callable[[dict[str, bytes]], None]) -> None:
    contents = supervisor.shared()
    change(contents)
    supervisor.spoils(BOOTSTRAP, 200, bootstrap.pack(contents, now()))


def test_a_server_gets_what_all_servers_share_byte_by_byte(supervisor: Supervisor, joining: Server) -> None:
    made = server.fetch(supervisor.url, joining)
    assert {file.path: file.content.encode() for file in made} == {
        server.path(joining.paths, name): content for name, content in supervisor.shared().items()
    }
    public = {file.path.rpartition("/")[2] for file in made if file.mode == 0o644}
    assert public == {"server-ca.crt", "client-ca.crt", "request-header-ca.crt", "peer-ca.crt"}
    assert {file.mode for file in made} == {0o600, 0o644}
    assert not Path(joining.paths.server).exists()


def test_its_own_certificates_are_then_of_the_clusters_authorities(
    supervisor: Supervisor, joining: Server, tmp_path: Path
) -> None:
    made = server.fetch(supervisor.url, joining)
    files.write_all(made)
    own = replace(request(tmp_path, "two"), token=joining.token.text())
    ensure(own, now())
    kept = ("PasswdFile", "EncryptionConfig", "ServiceKey", "ServerCA", "ETCDPeerCAKey")
    for name in kept:
        assert Path(server.path(own.paths, name)).read_bytes() == supervisor.shared()[name], name
    assert Path(own.paths.token).read_text() == f"{joining.token.text()}\n"
    # An interrupted join is completed by another one.
    assert files.write_all(server.fetch(supervisor.url, joining)) == []


def test_a_server_asks_as_the_user_server(supervisor: Supervisor, joining: Server) -> None:
    server.fetch(supervisor.url, joining)
    sent = {headers.get("authorization", "") for _, _, headers in supervisor.seen}
    assert sent == {"", f"Basic {base64.b64encode(f'server:{PASSWORD}'.encode()).decode()}"}
    supervisor.passwords = {f"node:{PASSWORD}"}
    with pytest.raises(Refused, match="401"):
        server.fetch(supervisor.url, joining)


def test_other_critical_settings_are_refused_in_rke2s_words(supervisor: Supervisor, joining: Server) -> None:
    supervisor.config["ClusterDomain"] = "other.example"
    with pytest.raises(ConfigurationError) as caught:
        server.fetch(supervisor.url, joining)
    assert "critical configuration value mismatch between servers" in str(caught.value)
    assert "cluster-domain is cluster.example here and other.example there" in str(caught.value)


def test_another_agent_token_is_refused_without_being_shown(supervisor: Supervisor, joining: Server) -> None:
    with pytest.raises(ConfigurationError, match="mismatch between servers: agent-token") as caught:
        server.fetch(supervisor.url, replace(joining, agent_password="another one"))
    assert PASSWORD not in str(caught.value) and "another one" not in str(caught.value)


@pytest.mark.parametrize("name", sorted({"ServerCA", "ClientCAKey", "ServiceKey", "ETCDPeerCA"}))
def test_a_server_of_another_cluster_keeps_its_files(
    supervisor: Supervisor, joining: Server, name: str
) -> None:
    path = Path(server.path(joining.paths, name))
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(
        ConfigurationError, match=f"{path} differs from that of the cluster at {supervisor.url}"
    ):
        server.fetch(supervisor.url, joining)
    assert path.read_text() == "mine"


def test_a_token_that_was_rotated_meanwhile_replaces_the_old_one(
    supervisor: Supervisor, joining: Server
) -> None:
    path = Path(joining.paths.passwd)
    path.parent.mkdir(parents=True)
    path.write_text("old,server,server,rke2:server\n")
    files.write_all(server.fetch(supervisor.url, joining))
    assert path.read_bytes() == supervisor.shared()["PasswdFile"]


def lacks(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        del contents[name]

    return change


def has(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        contents[name] = content

    return change


def swaps(one: str, other: str) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        contents[one], contents[other] = contents[other], contents[one]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lacks("ServerCAKey"), "lacks ServerCAKey"),
        (lacks("EncryptionConfig"), "lacks EncryptionConfig"),
        (has("ServiceKey", b"none"), "ServiceKey is not a private key"),
        (has("IPSECKey", b"\xff\xff"), "IPSECKey is not text"),
        (has("EncryptionConfig", b"{"), "EncryptionConfig is not JSON"),
        (has("PasswdFile", b"a,b\n"), "PasswdFile has a line without four fields"),
        (has("ClientCA", b"none"), "ClientCA is not a CA certificate"),
        (has("ServerCA", other_authority()), "ServerCA and ServerCAKey do not belong together"),
        (swaps("ETCDServerCAKey", "ETCDPeerCAKey"), "do not belong together"),
    ],
)
def test_bootstrap_data_that_no_server_could_use_is_not_taken(
    supervisor: Supervisor, joining: Server, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    spoil(supervisor, change)
    with pytest.raises(Unreachable, match=said):
        server.fetch(supervisor.url, joining)


def test_bootstrap_data_with_another_server_authority_than_the_proven_one_is_not_taken(
    supervisor: Supervisor, joining: Server
) -> None:
    def change(contents: dict[str, bytes]) -> None:
        contents["ServerCA"], contents["ServerCAKey"] = contents["ClientCA"], contents["ClientCAKey"]

    spoil(supervisor, change)
    with pytest.raises(Unreachable, match="ServerCA differs from /cacerts"):
        server.fetch(supervisor.url, joining)


def test_the_old_form_of_bootstrap_data_is_read_as_well(supervisor: Supervisor, joining: Server) -> None:
    new = server.fetch(supervisor.url, joining)
    old = {name: base64.b64encode(content).decode() for name, content in supervisor.shared().items()}
    supervisor.spoils(BOOTSTRAP, 200, json.dumps(old).encode())
    assert server.fetch(supervisor.url, joining) == new
