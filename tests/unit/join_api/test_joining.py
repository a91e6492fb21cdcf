"""The two sides of joining in front of each other: what nodes ask for, and what the supervisor answers."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509.oid import NameOID

from rke2_units.certificates import certificate, token
from rke2_units.certificates.request import Request
from rke2_units.certificates.token import Token
from rke2_units.doors import files
from rke2_units.join import agent, server
from rke2_units.join.agent import Agent
from rke2_units.join.http import Refused, Unreachable
from rke2_units.join.server import Server
from rke2_units.layout import Paths
from rke2_units.programs import etcd_join
from rke2_units.unit_names import Role

from .conftest import AGENT_PASSWORD, NODE_PASSWORD, SERVER_PASSWORD, Api, Supervisor, running

CONFIG = {
    "ClusterDomain": "cluster.local",
    "ClusterDNS": "10.43.0.10",
    "ClusterDNSs": ["10.43.0.10"],
    "ClusterIPRange": {"IP": "10.42.0.0", "Mask": "//8AAA=="},
    "ClusterIPRanges": [{"IP": "10.42.0.0", "Mask": "//8AAA=="}],
    "ServiceIPRange": {"IP": "10.43.0.0", "Mask": "//8AAA=="},
    "ServiceIPRanges": [{"IP": "10.43.0.0", "Mask": "//8AAA=="}],
    "DisableKubeProxy": False,
    "DisableCCM": False,
}


def token_of(supervisor: Supervisor, user: str, password: str) -> Token:
    bundle = (supervisor.credentials / "server-ca.crt").read_bytes()
    return Token(token.authority_hash(bundle), user, password)


def joining_agent(supervisor: Supervisor, folder: Path, password: str = AGENT_PASSWORD) -> Agent:
    request = Request(
        Paths(str(folder)), node_name="two", node_ips=("192.0.2.9",), names=(), role=Role.AGENT
    )
    return Agent(request, token_of(supervisor, "node", password), NODE_PASSWORD, "https://127.0.0.1:6443")


def url(supervisor: Supervisor) -> str:
    return f"https://127.0.0.1:{supervisor.port}"


def test_an_agent_gets_all_that_it_asks_for_and_gets_it_again_with_its_certificate(
    material: Path, api: Api, tmp_path: Path
) -> None:
    with running(material, api, config=CONFIG) as supervisor:
        joining = joining_agent(supervisor, tmp_path)
        fetched = agent.fetch((url(supervisor),), joining, datetime.now(UTC))
        files.write_all(fetched.files)
        assert agent.is_complete(joining.request)
        loaded = certificate.load_first((tmp_path / "agent" / "client-kubelet.crt").read_text())
        assert loaded is not None
        assert certificate.subject_texts(loaded, NameOID.COMMON_NAME) == ["system:node:two"]
        listed = json.loads(Path(joining.request.paths.server_list).read_text())
        assert listed["apiservers"] == ["192.0.2.5:6443"]
        # The token has been replaced meanwhile: the node is known by its certificate.
        changed = replace(joining, token=replace(joining.token, password="another"))
        again = agent.fetch((url(supervisor),), changed, datetime.now(UTC))
        assert again.values == fetched.values


def test_an_agent_is_told_why_it_may_not_join(material: Path, api: Api, tmp_path: Path) -> None:
    with running(material, api, config=CONFIG) as supervisor:
        wrong = joining_agent(supervisor, tmp_path, "wrong")
        with pytest.raises(Refused, match="401 Unauthorized"):
            agent.fetch((url(supervisor),), wrong, datetime.now(UTC))
        first = joining_agent(supervisor, tmp_path)
        agent.fetch((url(supervisor),), first, datetime.now(UTC))
        other = replace(first, node_password="another")
        with pytest.raises(Refused, match="Node password rejected, duplicate hostname"):
            agent.fetch((url(supervisor),), other, datetime.now(UTC))
        api.ready = False
        with pytest.raises(Unreachable, match="runtime core not ready"):
            agent.fetch((url(supervisor),), first, datetime.now(UTC))


def test_a_server_gets_what_all_servers_have_alike(material: Path, api: Api, tmp_path: Path) -> None:
    with running(material, api, config=CONFIG) as supervisor:
        joining = Server(
            Paths(str(tmp_path)), token_of(supervisor, "server", SERVER_PASSWORD), AGENT_PASSWORD, CONFIG
        )
        found = {file.path: file.content for file in server.fetch(url(supervisor), joining)}
        for name, credential in (("ClientCAKey", "client-ca.key"), ("PasswdFile", "passwd")):
            expected = (supervisor.credentials / credential).read_text()
            assert found[server.path(joining.paths, name)] == expected


def test_a_server_learns_of_etcds_members(material: Path, api: Api, tmp_path: Path) -> None:
    member = {
        "ID": 17,
        "name": "one-0a1b2c3d",
        "peerURLs": ["https://192.0.2.5:2380"],
        "clientURLs": ["https://192.0.2.5:2379"],
    }
    program = tmp_path / "etcdctl"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({'members': [member]})}'\n")
    program.chmod(0o755)
    with running(material, api, etcdctl=str(program)) as supervisor:
        token_file = tmp_path / "token"
        token_file.write_text(token_of(supervisor, "server", SERVER_PASSWORD).text() + "\n")
        authority = str(supervisor.credentials / "server-ca.crt")
        (found,) = etcd_join.ask_members(url(supervisor), authority, str(token_file))
        assert (found.name, found.peer_urls) == ("one-0a1b2c3d", ("https://192.0.2.5:2380",))
