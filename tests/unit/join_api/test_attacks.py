"""What others do to port 9345, and that a valid request is answered meanwhile."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .conftest import Api, Supervisor, node_headers, running

# What the process may weigh more than before.
ALLOWANCE = 20 << 20


@contextmanager
def unharmed(supervisor: Supervisor) -> Iterator[None]:
    """A valid request is answered within 1 s at the end, and the memory is where it was."""
    assert supervisor.ask("/v1-rke2/config", user="node").status == 200
    before = supervisor.memory()
    yield
    began = time.monotonic()
    assert supervisor.ask("/v1-rke2/config", user="node").status == 200
    assert time.monotonic() - began < 1
    assert supervisor.memory() - before < ALLOWANCE


def ends(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection in time; what it still sends is read."""
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    received = b""
    connection.settimeout(20)
    try:
        while more := connection.recv(1 << 16):
            received += more
    except OSError:
        pass
    return received


def pong(connection: socket.socket) -> bool:
    """Whether the answer to a ping comes."""
    received = b""
    while not received.endswith(b"pong"):
        more = connection.recv(1 << 16)
        if not more:
            return False
        received += more
    return True


def test_connections_that_say_nothing_hold_nobody_up(supervisor: Supervisor) -> None:
    with ExitStack() as stack, unharmed(supervisor):
        for _ in range(200):
            stack.enter_context(supervisor.connect())
        time.sleep(0.2)


def test_handshakes_without_a_request_hold_nobody_up(supervisor: Supervisor) -> None:
    with ExitStack() as stack, unharmed(supervisor):
        for _ in range(200):
            tls = supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1")
            stack.enter_context(tls).sendall(b"GET /ping HTTP/1.1\r\nA: a")


def test_more_connections_than_there_may_be_push_out_the_oldest_silent_one(material: Path, api: Api) -> None:
    with running(material, api, connections=8) as supervisor, ExitStack() as stack:
        silent = [stack.enter_context(supervisor.connect("127.0.0.66")) for _ in range(8)]
        time.sleep(0.2)
        assert supervisor.ask("/ping").status == 200
        assert ends(silent[0], 2)
        assert not ends(silent[-1], 0.1)
        assert "127.0.0.66 holds the most connections; closed its oldest one" in supervisor.journal


def test_a_known_caller_at_work_is_not_pushed_out(material: Path, api: Api) -> None:
    with running(material, api, connections=2) as supervisor, ExitStack() as stack:
        known = stack.enter_context(
            supervisor.tls("node-two").wrap_socket(supervisor.connect(), server_hostname="127.0.0.1")
        )
        request = "POST /v1-rke2/client-kube-proxy.crt HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
        known.sendall(request.encode())
        time.sleep(0.2)
        for _ in range(6):
            stack.enter_context(supervisor.connect())
        time.sleep(0.2)
        known.sendall(b"no reques")
        # Node two has not joined here.
        assert known.recv(100).startswith(b"HTTP/1.1 403")


def test_what_is_no_tls_is_refused_and_in_the_journal(supervisor: Supervisor) -> None:
    with unharmed(supervisor):
        for garbage in (
            b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01" + b"\xff" * 500,
            bytes(4096),
        ):
            with supervisor.connect() as connection:
                connection.sendall(garbage)
                assert ends(connection, 5)
    assert "127.0.0.1 failed the TLS handshake" in supervisor.journal


def test_one_address_cannot_fill_the_journal_and_nothing_of_it_is_lost(supervisor: Supervisor) -> None:
    for _ in range(100):
        with supervisor.connect() as connection:
            connection.sendall(b"garbage" * 10)
            assert ends(connection, 5)
    deadline = time.monotonic() + 10
    while "in 3 s)" not in supervisor.journal and time.monotonic() < deadline:
        time.sleep(0.1)
    lines = supervisor.journal.splitlines()
    assert len(lines) < 10
    assert "127.0.0.1 failed the TLS handshake" in lines[0] and lines[1].endswith(" in 3 s)")


def test_what_is_no_http_is_refused_and_in_the_journal(supervisor: Supervisor) -> None:
    with unharmed(supervisor):
        for garbage in (b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            with supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1") as tls:
                tls.sendall(garbage)
                assert not answer_of(tls).startswith(b"HTTP/1.1 2")
    assert "127.0.0.1 did not send a valid request" in supervisor.journal
    assert "Traceback" not in supervisor.journal


@pytest.mark.parametrize("length", [True, False], ids=["with its length", "in chunks"])
def test_a_body_of_100_megabytes_is_refused(supervisor: Supervisor, length: bool) -> None:
    head = "POST /v1-rke2/client-kube-proxy.crt HTTP/1.1\r\nHost: a\r\n"
    head += "Authorization: Basic bm9kZTp0aGUtYWdlbnRz\r\n"
    head += f"Content-Length: {100 << 20}\r\n\r\n" if length else "Transfer-Encoding: chunked\r\n\r\n"
    with (
        unharmed(supervisor),
        supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(head.encode())
        began, sent = time.monotonic(), 0
        try:
            while sent < 100 << 20:
                tls.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                sent += 0x10000
        except OSError:
            pass
        assert sent < 100 << 20
        assert time.monotonic() - began < 15


def test_a_body_that_is_announced_as_too_large_gets_a_status(supervisor: Supervisor) -> None:
    # The server reads nothing of it: the answer could be lost on a client that is still sending.
    announced = {"Content-Length": str((64 << 10) + 1)}
    answer = supervisor.ask("/v1-rke2/client-kube-proxy.crt", method="POST", user="node", headers=announced)
    assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    "line", [b"A: " + b"a" * 1000 + b"\r\n", b"A: a\r\n", b"A"], ids=["large", "many", "endless"]
)
def test_headers_without_end_are_cut_off(supervisor: Supervisor, line: bytes) -> None:
    with (
        unharmed(supervisor),
        supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"GET /ping HTTP/1.1\r\n")
        sent = 0
        try:
            while sent < 50 << 20:
                tls.sendall(line * (1 + (1 << 15) // len(line)))
                sent += 1 << 15
        except OSError:
            pass
        assert sent < 50 << 20


def test_headers_that_are_too_large_get_a_status(supervisor: Supervisor) -> None:
    headers = {f"A{number}": "a" * 4000 for number in range(5)}
    answer = supervisor.ask("/ping", headers=headers)
    assert (answer.status, answer.json["code"]) == (431, 431)


def test_a_few_requests_in_a_row_over_one_connection_are_answered(supervisor: Supervisor) -> None:
    with supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1") as tls:
        for _ in range(50):
            tls.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
            assert pong(tls)
        tls.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n" * 4 + b"GET /ping HTTP/1.0\r\n\r\n")
        assert answer_of(tls).count(b"pong") == 5


def test_what_was_upgraded_is_no_way_around_the_limits(supervisor: Supervisor) -> None:
    with (
        unharmed(supervisor),
        supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        sent = 0
        try:
            while sent < 50 << 20:
                tls.sendall(bytes(1 << 15))
                sent += 1 << 15
        except OSError:
            pass
        assert sent < 50 << 20


def test_the_servers_names_do_not_depend_on_what_a_client_asks_for(supervisor: Supervisor) -> None:
    def served(name: str) -> bytes | None:
        context = supervisor.tls()
        context.check_hostname = False
        with context.wrap_socket(supervisor.connect(), server_hostname=name) as tls:
            tls.sendall(f"GET /ping HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert pong(tls)
            return tls.getpeercert(binary_form=True)

    first = served("127.0.0.1")
    assert first is not None
    assert served("evil.example") == first == served("127.0.0.1")


def test_passwords_and_signatures_give_their_memory_back(supervisor: Supervisor) -> None:
    from rke2_units.certificates import keys

    from .conftest import request_for

    body = request_for(keys.make())

    def ask(name: str) -> None:
        answer = supervisor.ask(
            "/v1-rke2/client-kubelet.crt", method="POST", user="node", headers=node_headers(name), body=body
        )
        assert answer.status == 200

    ask("two")
    before = supervisor.memory()
    for number in range(10):
        ask(f"node-{number}")
    assert supervisor.memory() - before < 4 << 20


def test_a_stop_takes_no_longer_than_two_seconds(material: Path, api: Api) -> None:
    with running(material, api) as supervisor, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(supervisor.connect())
        idle = stack.enter_context(
            supervisor.tls().wrap_socket(supervisor.connect(), server_hostname="127.0.0.1")
        )
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        assert pong(idle)
        process = supervisor.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 2
        assert supervisor.journal == ""


def test_the_memory_of_an_attack_comes_back(supervisor: Supervisor) -> None:
    assert supervisor.ask("/v1-rke2/config", user="node").status == 200
    before = supervisor.memory()
    for _ in range(2):
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(supervisor.connect())
            time.sleep(0.2)
    deadline = time.monotonic() + 10
    while supervisor.memory() - before > 4 << 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert supervisor.memory() - before < 4 << 20
