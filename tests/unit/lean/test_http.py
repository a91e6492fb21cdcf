import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rke2_units.lean import http
from tests.unit.health_server import HealthServer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def answering(*answers: bytes, silent: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server that sends each of the answers over a connection of its own, and what it was asked."""
    asked: list[bytes] = []
    done = threading.Event()

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)
                if silent:
                    done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], asked
        finally:
            done.set()
            thread.join()


def get(port: int, *, timeout: float = 5, limit: int = 1000) -> tuple[int, bytes]:
    with http.Connection("127.0.0.1", port, timeout=timeout, limit=limit) as connection:
        answer = connection.ask("/path", {"Authorization": "Basic x"})
    return answer.status, answer.body


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 4\r\n\r\nbody", b"body"),
        (OK + b"content-length:  4 \r\n\r\nbody and more", b"body"),
        (OK + b"\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (CHUNKED + b"4;a=b\r\nbody\r\n0\r\nTrailer: x\r\n\r\n", b"body"),
        (
            CHUNKED + b"9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n",
            b"\r\n0\r\n\r\n\r\n",
        ),
    ],
)
def test_a_body_is_read_to_its_end(answer: bytes, body: bytes) -> None:
    with answering(answer) as (port, asked):
        assert get(port) == (200, body)
    (question,) = asked
    lines = question.decode().split("\r\n")
    assert lines == ["GET /path HTTP/1.1", f"Host: 127.0.0.1:{port}", "Authorization: Basic x", "", ""]


def test_an_answer_without_a_body_does_not_have_to_say_so() -> None:
    with answering(b"HTTP/1.1 204 No Content\r\n\r\n", silent=True) as (port, _):
        assert get(port) == (204, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        CHUNKED + b"-1\r\n",
    ],
)
def test_nonsense_is_no_answer(answer: bytes) -> None:
    with answering(answer) as (port, _), pytest.raises(http.NotAnAnswer, match="not an HTTP server"):
        get(port, limit=10000)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"X: y\r\n" * 1000,
        OK + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        CHUNKED + b"1\r\nx\r\n" * 1000,
        OK + b"\r\n" + b"x" * 1001,
    ],
)
def test_an_answer_that_is_too_long_is_not_read(answer: bytes) -> None:
    with answering(answer) as (port, _), pytest.raises(http.NotAnAnswer, match="too long"):
        get(port)


def test_an_answer_has_to_be_whole_in_time() -> None:
    with answering(OK + b"Content-Length: 10\r\n\r\nhalf", silent=True) as (port, _):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            get(port, timeout=0.2)
        assert time.monotonic() - began < 5


def test_a_question_is_asked_again_when_the_server_has_closed_the_kept_connection() -> None:
    kept = OK + b"Content-Length: 1\r\n\r\n"
    with answering(kept + b"1", kept + b"2") as (port, asked):
        with http.Connection("127.0.0.1", port, timeout=5) as connection:
            assert [connection.ask("/").body for _ in range(2)] == [b"1", b"2"]
    assert len(asked) == 2


def test_nonsense_over_a_kept_connection_is_not_asked_for_again() -> None:
    server = OK + b"Content-Length: 0\r\n\r\n"

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in (server, b"SSH-2.0\r\n\r\n"):
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with http.Connection("127.0.0.1", listener.getsockname()[1], timeout=5) as connection:
            connection.ask("/")
            with pytest.raises(http.NotAnAnswer):
                connection.ask("/")
        thread.join()


def test_what_may_have_been_done_is_not_asked_for_again() -> None:
    with answering(OK + b"Content-Length: 0\r\n\r\n", b"") as (port, asked):
        with http.Connection("127.0.0.1", port, timeout=5) as connection:
            connection.ask("/")
            with pytest.raises(OSError):
                connection.ask("/", method="POST", body=b"a body")
            with pytest.raises(ConnectionError, match="closed"):
                connection.ask("/", method="POST", body=b"a body")
    assert asked[1].endswith(b"\r\nContent-Length: 6\r\n\r\na body")


@pytest.mark.parametrize("value", ["a\nb: c", "a\rb", "\u20ac", "a\x00"])
def test_a_header_is_one_line(value: str) -> None:
    with answering(b"") as (port, asked):
        with http.Connection("127.0.0.1", port, timeout=5) as connection:
            with pytest.raises(ValueError, match="header"):
                connection.ask("/", {"X": value})
    assert asked == [b""]


def test_the_headers_of_an_answer_are_in_lower_case() -> None:
    with answering(OK + b"Retry-After: 7\r\nX:  Y \r\n\r\n") as (port, _):
        with http.Connection("127.0.0.1", port, timeout=5) as connection:
            assert connection.ask("/").headers == {"retry-after": "7", "x": "y"}


def test_headers_that_trickle_in_have_to_be_whole_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    while not ended.wait(0.02):
                        connection.sendall(b"H")
                except OSError:
                    pass  # Nobody reads on.

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(TimeoutError):
            get(server.getsockname()[1], timeout=0.3)
        ended.set()
        thread.join()


def test_one_question_over_a_connection_of_its_own(health_server: HealthServer) -> None:
    health_server.code, health_server.body = 503, b"\xff"
    assert http.ask(health_server.url) == (503, "\ufffd")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://127.0.0.1:6443/readyz?verbose", (True, "127.0.0.1", 6443, "/readyz?verbose")),
        ("http://[::1]:80", (False, "::1", 80, "/")),
        ("https://[2001:db8::1]/a", (True, "2001:db8::1", 9345, "/a")),
        ("https://server.example/", (True, "server.example", 9345, "/")),
    ],
)
def test_a_url_has_four_parts(url: str, parts: tuple[bool, str, int, str]) -> None:
    assert http.split(url, 9345) == parts


@pytest.mark.parametrize("url", ["", "ftp://a:1", "http://:1", "http://a:b", "http://a", "http://[::1]"])
def test_another_text_is_no_url(url: str) -> None:
    with pytest.raises(ValueError):
        http.split(url)
