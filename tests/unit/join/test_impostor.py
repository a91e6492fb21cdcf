"""Somebody with an agent's credentials and a place on the network, whom nodes are to take for a server."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rke2_units.certificates import keys, requesting
from rke2_units.certificates import token as tokens
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.request import Request
from rke2_units.certificates.token import Token
from rke2_units.errors import UserError
from rke2_units.join import agent, server
from rke2_units.join.agent import Agent
from rke2_units.join.http import Unreachable
from rke2_units.join.server import Server
from rke2_units.layout import Paths
from rke2_units.programs import etcd_join
from rke2_units.unit_names import Role
from tests.unit.join.supervisor import now
from tests.unit.join_api import conftest as supervisors

# A server that is not up: the address that the impostor has taken over.
SERVER = "192.0.2.6"
URL = f"https://{SERVER}:9345"


@dataclass
class Impostor:
    """Answers all that it is asked with what the real server says, and keeps what it was told."""

    real: supervisors.Supervisor
    told: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        self.told.append((path, authorization))
        found = self.real.ask(path, headers={"Authorization": authorization} if authorization else {})
        return found.status, found.body


@contextmanager
def listening(impostor: Impostor, certificate: Path, key: Path) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = impostor.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.socket = context.wrap_socket(found.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield found.server_address[1]
    finally:
        found.shutdown()
        found.server_close()


def certificate_for(real: supervisors.Supervisor, folder: Path, address: str) -> tuple[Path, Path]:
    """A kubelet's serving certificate, as the real server gives it to any node with this address."""
    key = keys.make()
    answer = real.ask(
        "/v1-rke2/serving-kubelet.crt",
        method="POST",
        user="node",
        headers=supervisors.node_headers("evil", ips=address),
        body=requesting.signing_request(key),
    )
    assert answer.status == 200
    files = folder / "evil.crt", folder / "evil.key"
    files[0].write_bytes(answer.body)
    files[1].write_text(keys.text(key))
    return files


@pytest.fixture
def impostor(
    real: supervisors.Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Impostor]:
    """It has SERVER's address on this network, and a certificate of the cluster's authority for it."""
    found = Impostor(real)
    connect = socket.socket.connect
    with listening(found, *certificate_for(real, tmp_path, SERVER)) as port:

        def misled(plain: socket.socket, address: tuple[str, int]) -> None:
            connect(plain, ("127.0.0.1", port) if address == (SERVER, 9345) else address)

        monkeypatch.setattr(socket.socket, "connect", misled)
        yield found


def ca_hash(real: supervisors.Supervisor) -> str:
    return tokens.authority_hash((real.credentials / "server-ca.crt").read_bytes())


def an_agent(folder: Path, impostor: Impostor) -> None:
    request = Request(
        Paths(str(folder / "data")),
        node_name="agent-1",
        node_ips=("192.0.2.9",),
        names=(),
        role=Role.AGENT,
        node_directory=str(folder / "node"),
    )
    ensure(request, now())
    # The server token is what many give to their agents, too.
    token = Token(ca_hash(impostor.real), "server", supervisors.SERVER_PASSWORD)
    agent.fetch(
        (URL,), Agent(request, token, agent.node_password(request.node_directory), "https://x"), now()
    )


def a_server(folder: Path, impostor: Impostor) -> None:
    server.fetch(URL, joining_server(folder, impostor))


def a_server_without_etcd(folder: Path, impostor: Impostor) -> None:
    server.members(URL, joining_server(folder, impostor))


def joining_server(folder: Path, impostor: Impostor) -> Server:
    token = Token(ca_hash(impostor.real), "server", supervisors.SERVER_PASSWORD)
    return Server(Paths(str(folder / "data")), token, supervisors.AGENT_PASSWORD, {})


def a_server_that_joins_etcd(folder: Path, impostor: Impostor) -> None:
    file = folder / "token"
    file.write_text(Token(ca_hash(impostor.real), "server", supervisors.SERVER_PASSWORD).text())
    etcd_join.ask_members(URL, str(impostor.real.credentials / "server-ca.crt"), str(file))


VICTIMS = (an_agent, a_server, a_server_without_etcd, a_server_that_joins_etcd)


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_certificate_of_a_kubelet_for_a_servers_address_is_worth_no_token(
    victim: Callable[[Path, Impostor], None], impostor: Impostor, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="not a server's") as raised:
        victim(tmp_path, impostor)
    # Worth another try, or another server: the real one may come back to its address.
    assert isinstance(raised.value, Unreachable) or victim is a_server_that_joins_etcd
    assert {path for path, _ in impostor.told} <= {"/cacerts"}
    assert [secret for _, secret in impostor.told if secret] == []


def test_the_impostor_is_one_in_everything_but_its_subject(impostor: Impostor) -> None:
    context = impostor.real.tls()
    connection = http.client.HTTPSConnection(SERVER, 9345, timeout=20, context=context)
    connection.request("GET", "/ping")
    assert connection.getresponse().read() == b"pong"
    connection.close()
