import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from rke2_units.certificates import table
from rke2_units.certificates.token import Token
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.join import agent, cluster_config, server_list
from rke2_units.join.agent import Agent, Fetched
from rke2_units.join.http import Refused, Unreachable
from tests.unit.join.supervisor import PASSWORD, Supervisor, now, other_authority, running

REJECTED = b'{"kind": "Status", "message": "Node password rejected"}'
NOBODY = "https://127.0.0.1:1"


def fetch(supervisor: Supervisor, joining: Agent, *others: str) -> Fetched:
    return agent.fetch((*others, supervisor.url), joining, now())


def join(supervisor: Supervisor, joining: Agent) -> Fetched:
    fetched = fetch(supervisor, joining)
    files.write_all(fetched.files)
    return fetched


def posts(supervisor: Supervisor) -> list[str]:
    return [path for method, path, _ in supervisor.seen if method == "POST"]


def test_an_agent_gets_certificates_for_keys_of_its_own(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    folder = Path(joining_agent.request.paths.agent)
    for name, common_name, authority in (
        ("client-kubelet", "system:node:agent-1", "client-ca"),
        ("serving-kubelet", "agent-1", "server-ca"),
        ("client-kube-proxy", "system:kube-proxy", "client-ca"),
        ("client-rke2-controller", "system:rke2-controller", "client-ca"),
    ):
        text = (folder / f"{name}.crt").read_text()
        found = x509.load_pem_x509_certificate(text.encode())
        assert found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == common_name
        assert text.endswith((folder / f"{authority}.crt").read_text())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")  # they belong together
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()} == {0o600}


def test_no_key_is_sent_and_the_node_password_with_the_certificates_alone(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    asked = {path for _, path, headers in supervisor.seen if "rke2-node-password" in headers}
    assert asked == {f"/v1-rke2/{leaf.name}.crt" for leaf in table.AGENT_LEAVES}
    headers = next(headers for _, path, headers in supervisor.seen if path == "/v1-rke2/serving-kubelet.crt")
    assert headers["rke2-node-name"] == "agent-1"
    assert headers["rke2-node-ip"] == "192.0.2.9"
    assert headers["rke2-node-password"] == joining_agent.node_password
    assert len(headers["rke2-node-password"]) == 32


def test_an_agent_knows_the_cluster_and_its_servers_when_it_has_joined(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    fetched = join(supervisor, joining_agent)
    paths = joining_agent.request.paths
    assert fetched.values["cluster-cidr"] == ("10.44.0.0/16",)
    assert cluster_config.kept(paths.cluster_config) == fetched.values
    assert server_list.read(paths.server_list).servers == ("192.0.2.1:9345", "192.0.2.2:9345")
    assert "never kept" not in Path(paths.cluster_config).read_text()
    assert "https://127.0.0.1:6443" in Path(paths.kubelet_kubeconfig).read_text()
    assert agent.is_complete(joining_agent.request)


def test_a_server_that_knows_no_api_servers_is_itself_the_list(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    supervisor.spoils("/v1-rke2/apiservers", 200, b"[]")
    join(supervisor, joining_agent)
    known = server_list.read(joining_agent.request.paths.server_list)
    assert known == server_list.of_url(supervisor.url)


def test_a_second_start_asks_for_no_certificate_and_changes_no_file(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    supervisor.seen.clear()
    assert files.write_all(fetch(supervisor, joining_agent).files) == []
    assert posts(supervisor) == []


@pytest.mark.parametrize(
    ("change", "renewed"),
    [
        ({"node_ips": ("192.0.2.10",)}, ["/v1-rke2/serving-kubelet.crt"]),
        ({"node_name": "agent-2"}, ["/v1-rke2/serving-kubelet.crt", "/v1-rke2/client-kubelet.crt"]),
    ],
)
def test_a_certificate_that_no_longer_fits_is_asked_for_again_with_the_same_key(
    supervisor: Supervisor, joining_agent: Agent, change: dict[str, object], renewed: list[str]
) -> None:
    join(supervisor, joining_agent)
    key = Path(joining_agent.request.paths.agent, "serving-kubelet.key").read_text()
    supervisor.seen.clear()
    changed = replace(joining_agent, request=replace(joining_agent.request, **change))  # type: ignore[arg-type]
    join(supervisor, changed)
    assert posts(supervisor) == renewed
    assert Path(joining_agent.request.paths.agent, "serving-kubelet.key").read_text() == key


def test_certificates_are_asked_for_again_120_days_before_they_expire(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    supervisor.seen.clear()
    agent.fetch((supervisor.url,), joining_agent, now() + timedelta(days=240))
    assert posts(supervisor) == []
    agent.fetch((supervisor.url,), joining_agent, now() + timedelta(days=250))
    assert len(posts(supervisor)) == len(table.AGENT_LEAVES)


def test_the_next_server_is_asked_when_one_does_not_answer(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    assert fetch(supervisor, joining_agent, NOBODY).values
    with pytest.raises(Unreachable, match=f"{NOBODY}: Connection refused; {NOBODY}: "):
        agent.fetch((NOBODY, NOBODY), joining_agent, now())


def half_up(supervisor: Supervisor) -> None:
    """Its apiserver is not ready: it knows itself alone, and gives no node a certificate."""
    supervisor.spoils("/v1-rke2/readyz", 503, b"runtime core not ready")
    supervisor.spoils("/v1-rke2/apiservers", 200, b'["192.0.2.7:6443"]')


def test_a_server_whose_apiserver_is_not_ready_is_not_believed_to_be_the_only_one(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    half_up(supervisor)
    with pytest.raises(Unreachable, match=r"readyz: 503 Service Unavailable: runtime core not ready"):
        fetch(supervisor, joining_agent)
    with running(Supervisor(supervisor.request)) as other:
        files.write_all(fetch(other, joining_agent, supervisor.url).files)
    known = server_list.read(joining_agent.request.paths.server_list)
    assert known.servers == ("192.0.2.1:9345", "192.0.2.2:9345")


def test_a_server_that_is_not_ready_for_a_nodes_certificate_has_not_refused_its_old_token(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    supervisor.passwords = set()
    supervisor.spoil["/v1-rke2/readyz"] = lambda answer: answer if answer[0] == 401 else (503, b"not ready")
    with pytest.raises(Unreachable, match="readyz: 503"):
        fetch(supervisor, joining_agent)
    supervisor.spoil["/v1-rke2/readyz"] = lambda answer: answer if answer[0] == 401 else (403, b"another no")
    with pytest.raises(Refused, match="401 Unauthorized"):
        fetch(supervisor, joining_agent)


@pytest.mark.parametrize("refuses_first", [True, False])
def test_a_node_that_can_start_alone_is_refused_by_all_servers_or_by_none(
    supervisor: Supervisor, joining_agent: Agent, refuses_first: bool
) -> None:
    join(supervisor, joining_agent)
    supervisor.spoils("/v1-rke2/config", 403, b"no")
    urls = (supervisor.url, NOBODY) if refuses_first else (NOBODY, supervisor.url)
    with pytest.raises(Unreachable) as caught:
        agent.fetch(urls, joining_agent, now())
    assert "403 Forbidden" in str(caught.value) and "Connection refused" in str(caught.value)
    with pytest.raises(Refused, match="403"):
        agent.fetch((supervisor.url, supervisor.url), joining_agent, now())
    Path(joining_agent.request.paths.cluster_config).unlink()
    with pytest.raises(Refused, match="403"):
        agent.fetch(urls, joining_agent, now())


def test_a_refusal_is_final_only_after_all_servers_were_asked(
    supervisor: Supervisor, joining_agent: Agent, tmp_path: Path
) -> None:
    supervisor.passwords = set()
    with pytest.raises(Refused, match=r"401 Unauthorized: not authorized") as caught:
        agent.fetch((supervisor.url, NOBODY), joining_agent, now())
    assert isinstance(caught.value, ConfigurationError)
    assert PASSWORD not in str(caught.value)
    with running(Supervisor(supervisor.request)) as other:
        assert agent.fetch((supervisor.url, other.url), joining_agent, now()).values


def test_a_node_whose_token_is_no_longer_good_is_known_by_its_certificate(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    join(supervisor, joining_agent)
    supervisor.passwords = set()
    assert files.write_all(fetch(supervisor, joining_agent).files) == []
    stranger = replace(joining_agent, token=Token("ab" * 32, "node", PASSWORD))
    with pytest.raises(Refused, match="token CA hash"):
        fetch(supervisor, stranger)


def test_a_node_behind_an_address_that_is_held_back_is_known_by_its_certificate(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    supervisor.spoil["/v1-rke2/readyz"] = lambda answer: (429, b"too many") if answer[0] == 401 else answer
    supervisor.passwords = set()
    with pytest.raises(Unreachable, match="429"):
        fetch(supervisor, joining_agent)
    supervisor.passwords = {f"node:{PASSWORD}"}
    join(supervisor, joining_agent)
    supervisor.passwords = set()
    assert files.write_all(fetch(supervisor, joining_agent).files) == []


@pytest.mark.parametrize(
    ("path", "status", "body", "error", "said"),
    [
        ("/v1-rke2/client-kubelet.crt", 403, REJECTED, Refused, "403 Forbidden: Node password rejected"),
        ("/v1-rke2/client-kubelet.crt", 503, b"not ready", Unreachable, "not ready"),
        ("/v1-rke2/config", 404, b"404 page not found", Refused, "404 Not Found"),
        ("/v1-rke2/config", 200, b"[]", Unreachable, "not a JSON object"),
        ("/v1-rke2/config", 200, b'{"ClusterDNS": "nobody"}', Unreachable, "ClusterDNS"),
        ("/v1-rke2/client-ca.crt", 200, b"", Unreachable, "client-ca.crt is not a bundle"),
        ("/v1-rke2/serving-kubelet.crt", 200, b"hello", Unreachable, "no certificate for agent-1"),
        ("/v1-rke2/apiservers", 200, b"<html>", Unreachable, "not JSON"),
        ("/v1-rke2/config", 200, b"x" * (5 << 20), Unreachable, "too long"),
    ],
)
def test_what_a_server_answers_amiss_is_said_and_nothing_is_written(
    supervisor: Supervisor,
    joining_agent: Agent,
    path: str,
    status: int,
    body: bytes,
    error: type[Exception],
    said: str,
) -> None:
    supervisor.spoils(path, status, body)
    with pytest.raises(error) as caught:
        fetch(supervisor, joining_agent)
    assert said in str(caught.value)
    assert not Path(joining_agent.request.paths.agent).exists()


@pytest.mark.parametrize("name", ["client-kubelet", "serving-kubelet"])
def test_another_certificate_than_the_one_asked_for_is_not_taken(
    supervisor: Supervisor, joining_agent: Agent, name: str
) -> None:
    path = f"/v1-rke2/{name}.crt"
    for foreign in (
        supervisor.path("tls/client-admin.crt").read_bytes(),
        supervisor.path("tls/serving-kube-apiserver.crt").read_bytes(),
        other_authority(),
    ):
        supervisor.spoils(path, 200, foreign)
        with pytest.raises(Unreachable, match="another certificate than the one requested"):
            fetch(supervisor, joining_agent)


def test_a_node_that_lacks_one_file_of_a_join_cannot_start_without_a_server(
    supervisor: Supervisor, joining_agent: Agent
) -> None:
    made = join(supervisor, joining_agent).files
    for file in made:
        path = Path(file.path)
        content = path.read_text()
        path.unlink()
        assert not agent.is_complete(joining_agent.request), file.path
        path.write_text(content)
    assert agent.is_complete(joining_agent.request)
