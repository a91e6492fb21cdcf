import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.lean.probe import Probe
from rke2_units.lean.settings import HealthCheck
from tests.unit.health_server import HealthServer
from tests.unit.program_values import make_settings


def make_check(root: Path, **values: object) -> HealthCheck:
    return make_settings(root, health_checks={"etcd": values}).health_check("etcd")


def ask(check: HealthCheck) -> str:
    with Probe(check) as probe:
        return probe.ask()


def test_a_component_is_healthy_when_the_answer_is_200(tmp_path: Path, health_server: HealthServer) -> None:
    assert ask(make_check(tmp_path, url=health_server.url)) == ""


def test_a_check_with_a_word_passes_only_with_that_word(tmp_path: Path, health_server: HealthServer) -> None:
    check = make_check(tmp_path, url=health_server.url, contains='"health":"true"')
    health_server.body = b'{"health":"false"}'
    assert ask(check) == f"answered without {check.contains!r}"
    health_server.body = b'{"health":"true"}'
    assert ask(check) == ""


def test_failed_checks_of_a_health_page_are_named(tmp_path: Path, health_server: HealthServer) -> None:
    health_server.code = 500
    health_server.body = (
        b"[+]ping ok\n[-]etcd failed: reason withheld\n[-]informer-sync failed\nreadyz check failed"
    )
    assert ask(make_check(tmp_path, url=health_server.url)) == "HTTP 500, failed: etcd, informer-sync"


def test_a_word_that_two_chunks_share_is_found(tmp_path: Path) -> None:
    chunks = b"5\r\nis_le\r\n6\r\narner \r\n2\r\n0\n\r\n0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/metrics"
        assert ask(make_check(tmp_path, url=url, contains="is_learner 0\n")) == ""
        thread.join()


@pytest.mark.parametrize("chunked", [False, True])
def test_the_connection_is_kept(tmp_path: Path, health_server: HealthServer, chunked: bool) -> None:
    health_server.chunked = chunked
    with Probe(make_check(tmp_path, url=health_server.url, contains="ok")) as probe:
        assert [probe.ask() for _ in range(5)] == [""] * 5
    assert health_server.requests == 5
    assert health_server.connections == 1


def test_a_server_that_closes_connections_is_asked_on_new_ones(
    tmp_path: Path, health_server: HealthServer
) -> None:
    health_server.close = True
    with Probe(make_check(tmp_path, url=health_server.url)) as probe:
        assert [probe.ask() for _ in range(3)] == [""] * 3


def test_a_port_that_nobody_listens_on_is_a_refused_connection(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert ask(make_check(tmp_path, url=f"http://127.0.0.1:{port}/")) == "connection refused"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not an HTTP server"),
        (b"", "the server closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", "the server closed the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n0\r\n\r\n", "not an HTTP server"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200000, "the answer is too long"),
    ],
)
def test_what_is_no_answer_is_a_reason(tmp_path: Path, answer: bytes, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                try:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    # The end comes after the answer was taken, not as a reset.
                    while connection.recv(1000):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask(make_check(tmp_path, url=f"http://127.0.0.1:{server.getsockname()[1]}/")) == reason
        thread.join()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    path = tmp_path / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def encrypt(server: HealthServer, certificate: Path, *, clients: bool = False) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    server.server.socket = context.wrap_socket(
        server.server.socket, server_side=True, do_handshake_on_connect=False
    )
    return server.url.replace("http:", "https:")


def test_https_needs_the_authority_that_signed_the_server(
    tmp_path: Path, make_health_server: Callable[[], HealthServer], certificate: Path
) -> None:
    server = make_health_server()
    url = encrypt(server, certificate)
    assert ask(make_check(tmp_path, url=url, authority=str(certificate))) == ""
    assert ask(make_check(tmp_path, url=url, insecure=True)) == ""
    other = tmp_path / "other.crt"
    other.write_text(Path(f"{certificate}.crt").read_text())
    assert ask(make_check(tmp_path, url=url, authority=str(other))) == ""
    assert "certificate" in ask(
        make_check(tmp_path, url=url, authority=ssl.get_default_verify_paths().openssl_cafile)
    )
    assert "No such file" in ask(make_check(tmp_path, url=url, authority="/nonexistent"))


def test_https_needs_the_name_that_was_asked_for(
    tmp_path: Path, make_health_server: Callable[[], HealthServer], certificate: Path
) -> None:
    url = encrypt(make_health_server(), certificate).replace("127.0.0.1", "localhost")
    assert "certificate" in ask(make_check(tmp_path, url=url, authority=str(certificate)))


def test_a_client_certificate_is_shown(
    tmp_path: Path, make_health_server: Callable[[], HealthServer], certificate: Path
) -> None:
    server = make_health_server()
    url = encrypt(server, certificate, clients=True)
    path = str(certificate)
    assert ask(make_check(tmp_path, url=url, authority=path, certificate=path, key=path)) == ""
    assert ask(make_check(tmp_path, url=url, authority=path)) != ""
