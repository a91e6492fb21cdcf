"""Both ends together: nodes that join through the supervisor itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from rke2_units.certificates import token as tokens
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.request import Request
from rke2_units.certificates.token import Token
from rke2_units.doors import files
from rke2_units.join import agent, server
from rke2_units.join.agent import Agent
from rke2_units.join.http import Refused, Unreachable
from rke2_units.join.server import Server
from rke2_units.layout import Paths
from rke2_units.unit_names import Role
from tests.unit.join.supervisor import now
from tests.unit.join_api import conftest as supervisors


def url(real: supervisors.Supervisor) -> str:
    return f"https://127.0.0.1:{real.port}"


def ca_hash(real: supervisors.Supervisor) -> str:
    return tokens.authority_hash((real.credentials / "server-ca.crt").read_bytes())


def an_agent(root: Path, real: supervisors.Supervisor, name: str = "agent-1") -> Agent:
    request = Request(
        Paths(str(root / "data")),
        node_name=name,
        node_ips=("192.0.2.9",),
        names=(),
        role=Role.AGENT,
        node_directory=str(root / "node"),
    )
    ensure(request, now())
    password = agent.node_password(request.node_directory)
    return Agent(request, Token(ca_hash(real), "node", supervisors.AGENT_PASSWORD), password, "https://x")


def test_an_agent_joins_and_starts_again_without_new_certificates(
    tmp_path: Path, real: supervisors.Supervisor
) -> None:
    joining = an_agent(tmp_path, real)
    assert files.write_all(agent.fetch((url(real),), joining, now()).files)
    assert agent.is_complete(joining.request)
    assert files.write_all(agent.fetch((url(real),), joining, now()).files) == []
    # Its certificate is enough when its token is no longer good.
    other = replace(joining, token=replace(joining.token, password="rotated"))
    assert files.write_all(agent.fetch((url(real),), other, now()).files) == []


def test_another_machine_does_not_get_the_certificates_of_a_node_of_that_name(
    tmp_path: Path, real: supervisors.Supervisor
) -> None:
    agent.fetch((url(real),), an_agent(tmp_path / "one", real), now())
    with pytest.raises(Refused, match="403 Forbidden: .*Node password rejected"):
        agent.fetch((url(real),), an_agent(tmp_path / "other", real), now())
    agent.fetch((url(real),), an_agent(tmp_path / "other", real, "agent-2"), now())


def test_a_wrong_token_is_refused_and_not_shown(tmp_path: Path, real: supervisors.Supervisor) -> None:
    joining = an_agent(tmp_path, real)
    wrong = replace(joining, token=replace(joining.token, password="a wrong one"))
    with pytest.raises(Refused, match="401 Unauthorized") as caught:
        agent.fetch((url(real),), wrong, now())
    assert "a wrong one" not in str(caught.value)
    assert "a wrong one" not in real.journal


def test_an_agent_waits_for_a_server_without_apiserver(tmp_path: Path, real: supervisors.Supervisor) -> None:
    real.api.ready = False
    with pytest.raises(Unreachable, match="503"):
        agent.fetch((url(real),), an_agent(tmp_path, real), now())


def test_a_bootstrap_token_joins_an_agent(tmp_path: Path, real: supervisors.Supervisor) -> None:
    path, secret = supervisors.bootstrap_token()
    joining = replace(
        an_agent(tmp_path, real), token=Token(ca_hash(real), bootstrap="abcdef.0123456789abcdef")
    )
    with pytest.raises(Refused, match="401"):
        agent.fetch((url(real),), joining, now())
    real.api.store.objects[path] = secret
    assert agent.fetch((url(real),), joining, now()).files


def test_a_server_gets_the_authorities_and_an_agent_with_its_token_does_not(
    tmp_path: Path, real: supervisors.Supervisor
) -> None:
    paths = Paths(str(tmp_path / "data"))
    token = Token(ca_hash(real), "server", supervisors.SERVER_PASSWORD)
    joining = Server(paths, token, supervisors.AGENT_PASSWORD, {"ClusterDomain": "cluster.local"})
    made = server.fetch(url(real), joining)
    shared = {file.path: file.content.encode() for file in made}
    assert shared[f"{paths.tls}/client-ca.key"] == (real.credentials / "client-ca.key").read_bytes()
    assert shared[paths.encryption_config] == (real.credentials / "encryption-config.json").read_bytes()
    with pytest.raises(Refused, match="403"):
        server.fetch(
            url(real), replace(joining, token=Token(ca_hash(real), "node", supervisors.AGENT_PASSWORD))
        )
