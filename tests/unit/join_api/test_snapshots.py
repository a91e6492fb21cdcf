"""Requests about snapshots reach the program behind the socket as they are, and its answer comes back."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units import layout
from rke2_units.join_api import snapshots
from rke2_units.join_api.endpoints import LARGEST_RELAYED_BODY
from rke2_units.join_api.refusal import Refusal

from ..kubernetes_api import Reply
from ..snapshot_program import SAVED, Program
from .conftest import Answer, Api, Supervisor, running

SAVE = {"operation": "save", "name": ["on-demand"]}
# Makes the supervisor's limits of time short.
SHORT = "from rke2_units.join_api import snapshots; snapshots._LONGEST = 0.5; snapshots.GRACE_SECONDS = 2.0"
HASTE = "from rke2_units.join_api import slots; slots.WAIT_SECONDS = 0.2"


@pytest.fixture
def program(material: Path) -> Iterator[Program]:
    started = Program(material / "requests" / layout.SNAPSHOT_SOCKET_NAME)
    yield started
    started.close()


@pytest.fixture(scope="module")
def supervisor(material: Path, module_api: Api) -> Iterator[Supervisor]:
    with running(material, module_api) as started:
        yield started


def post(supervisor: Supervisor, body: object = SAVE, user: str = "server") -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return supervisor.ask("/db/snapshot", method="POST", user=user, body=content)


def test_a_request_is_passed_on_byte_by_byte_and_the_answer_is_the_programs(
    supervisor: Supervisor, program: Program
) -> None:
    body = b' {"operation":"save",\n"name":["a\\u0000b"],"s3":{"secretKey":"hush","timeout":"5m0s"}}'
    answer = post(supervisor, body)
    assert (answer.status, answer.json) == (200, SAVED["body"])
    assert answer.headers["Content-Type"] == "application/json"
    assert program.asked == [body]
    assert "server asked to save a snapshot: 200" in supervisor.journal
    assert "hush" not in supervisor.journal


def test_the_last_line_is_the_answer(supervisor: Supervisor, program: Program) -> None:
    status = {"kind": "Status", "status": "Failure", "message": "snapshot save already in progress"}
    lines = [{"progress": "saving"}, {"progress": "1 of 2"}, {"status": 500, "body": status}]
    program.says(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    answer = post(supervisor)
    assert (answer.status, answer.json) == (500, status)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_another_method_is_not_allowed(supervisor: Supervisor, method: str) -> None:
    answer = supervisor.ask("/db/snapshot", method=method, user="server")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    if method != "HEAD":
        assert answer.json["reason"] == "MethodNotAllowed"
        assert answer.json["message"] == f"{method} is not allowed for this path"


def test_who_is_no_server_starts_nothing(supervisor: Supervisor, program: Program) -> None:
    assert post(supervisor, user="node").status == 403
    assert post(supervisor, user="server:wrong").status == 401
    for client in ("node-two", "masters", "pretender"):
        answer = supervisor.ask("/db/snapshot", method="POST", client=client, body=b"{}")
        assert answer.status == 403
    assert program.asked == []


def test_a_server_without_etcd_has_no_snapshots(material: Path, api: Api) -> None:
    with running(material, api, requests="") as supervisor:
        answer = post(supervisor)
    assert (answer.status, answer.json["reason"]) == (404, "NotFound")


@pytest.mark.parametrize("is_there", [False, True], ids=["no socket", "nobody listens"])
def test_without_the_socket_it_says_what_to_do(
    supervisor: Supervisor, material: Path, is_there: bool
) -> None:
    path = material / "requests" / layout.SNAPSHOT_SOCKET_NAME
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if is_there:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    answer = post(supervisor)
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    assert "systemctl start rke2-etcd-snapshot-request.socket" in answer.json["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"no JSON\n",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b"[]",
        b'{"progress": "and no more"}\n',
        b'{"status": "200", "body": {}}',
        b'{"status": true, "body": {}}',
        b'{"status": 101, "body": {}}',
        b'{"status": 302, "body": {}}',
        b'{"status": 1000, "body": {}}',
        b'{"status": 200, "body": "text"}',
        b'{"status": 200, "body": {}}\ngarbage',
        b'{"status": 200, "bo',
    ],
)
def test_an_answer_that_is_none_is_an_error_of_the_server(
    supervisor: Supervisor, program: Program, content: bytes
) -> None:
    program.says(content)
    answer = post(supervisor)
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert "journalctl -u 'rke2-etcd-snapshot-request@*'" in answer.json["message"]
    assert "Traceback" not in supervisor.journal


def test_an_answer_without_end_is_cut_off(supervisor: Supervisor, program: Program) -> None:
    sent = 0

    def flood(connection: socket.socket, body: bytes) -> None:
        nonlocal sent
        while True:
            connection.sendall(b"x" * (1 << 16))
            sent += 1 << 16

    program.speak = flood
    answer = post(supervisor)
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert "too many snapshots" in answer.json["message"]
    assert sent < 2 * snapshots.LARGEST_ANSWER


def test_a_large_list_arrives_whole_and_its_memory_is_given_back(
    supervisor: Supervisor, program: Program
) -> None:
    items = [{"metadata": {"name": f"local-etcd-snapshot-one-{n}"}, "x": "y" * 600} for n in range(9000)]
    program.says(json.dumps({"status": 200, "body": {"items": items}}).encode() + b"\n")
    assert post(supervisor).status == 200
    before = supervisor.memory()
    assert len(post(supervisor).json["items"]) == 9000
    assert supervisor.memory() - before < 12 << 20


@pytest.mark.parametrize("length", [True, False], ids=["with its length", "in chunks"])
def test_a_body_above_a_megabyte_is_refused(supervisor: Supervisor, program: Program, length: bool) -> None:
    head = "POST /db/snapshot HTTP/1.1\r\nHost: a\r\nAuthorization: Basic c2VydmVyOnRoZS1zZXJ2ZXJz\r\n"
    head += f"Content-Length: {100 << 20}\r\n\r\n" if length else "Transfer-Encoding: chunked\r\n\r\n"
    received = b""
    with supervisor.speak() as connection:
        connection.sendall(head.encode())
        sent = 0
        with contextlib.suppress(OSError):
            while not length and sent <= 20 << 20:
                connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                sent += 0x10000
        assert sent < 20 << 20
        with contextlib.suppress(OSError):
            received = connection.recv(1 << 16)
    assert not length or received.startswith(b"HTTP/1.1 413")
    assert program.asked == []


def test_a_body_of_a_megabyte_is_passed_on(supervisor: Supervisor, program: Program) -> None:
    body = json.dumps({**SAVE, "name": ["x" * (LARGEST_RELAYED_BODY - 100)]}).encode()
    assert post(supervisor, body).status == 200
    assert program.asked == [body]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\x00", b"[" * 50_000, b'{"a":' * 50_000])
def test_a_body_that_is_no_object_starts_nothing(
    supervisor: Supervisor, program: Program, body: bytes
) -> None:
    answer = post(supervisor, body)
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert program.asked == []


def test_a_program_that_takes_too_long_is_no_longer_waited_for(
    material: Path, api: Api, program: Program
) -> None:
    ends = threading.Event()
    program.speak = lambda connection, body: (ends.wait(20), None)[1]
    with running(material, api, SHORT) as supervisor:
        began = time.monotonic()
        answer = post(supervisor)
        assert time.monotonic() - began < 5
        ends.set()
    assert (answer.status, answer.json["reason"]) == (504, "Timeout")
    assert "may still end" in answer.json["message"]


def test_an_answer_may_take_longer_than_others(material: Path, api: Api, program: Program) -> None:
    """The limit of other answers would end the connection."""
    before = (
        "from rke2_units.join_api import connection as c; c.Connection.answer_within.__defaults__ = (0.3,)"
    )

    def slowly(connection: socket.socket, body: bytes) -> None:
        time.sleep(1)
        connection.sendall(json.dumps(SAVED).encode())

    program.speak = slowly
    with running(material, api, before) as supervisor:
        assert post(supervisor).json == SAVED["body"]


def test_two_are_worked_on_at_once_and_further_ones_come_again(
    material: Path, api: Api, program: Program
) -> None:
    begun, ends = threading.Semaphore(0), threading.Event()

    def work(connection: socket.socket, body: bytes) -> None:
        begun.release()
        ends.wait(20)
        connection.sendall(json.dumps(SAVED).encode())

    program.speak = work
    with running(material, api, HASTE) as supervisor:
        answers: list[Answer] = []
        threads = [
            threading.Thread(target=lambda: answers.append(post(supervisor)), daemon=True) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        assert begun.acquire(timeout=10) and begun.acquire(timeout=10)
        third = post(supervisor)
        assert (third.status, third.json["reason"]) == (429, "TooManyRequests")
        assert third.headers["Retry-After"] == "2"
        # Others are not held up.
        assert supervisor.ask("/v1-rke2/config", user="node").status == 200
        ends.set()
        for thread in threads:
            thread.join(10)
        assert [answer.status for answer in answers] == [200, 200]
        assert post(supervisor).status == 200


def test_metrics_contain_what_the_programs_have_written(supervisor: Supervisor, material: Path) -> None:
    supervisor.api.server.answer = lambda request: Reply(
        201, {"status": {"authenticated": True, "allowed": True, "user": {"username": "x"}}}
    )
    file = material / "requests" / layout.SNAPSHOT_METRICS_NAME
    file.parent.mkdir(exist_ok=True)
    line = 'rke2_etcd_snapshot_save_duration_seconds_count{status="success"} 3\n'

    def shown() -> str:
        answer = supervisor.ask("/metrics", token="e.y.j")
        assert answer.status == 200
        return answer.text

    file.unlink(missing_ok=True)
    assert "rke2_etcd_snapshot" not in shown()
    file.write_text(line)
    assert shown().endswith(line)
    # Not half of it.
    file.write_text(line * 2000)
    assert "rke2_etcd_snapshot" not in shown()
    file.unlink()


@pytest.mark.parametrize(
    ("s3", "seconds"),
    [
        (None, 120),
        ({}, 420),
        ({"timeout": "5m0s"}, 420),
        ({"timeout": "1h30m"}, 1800),
        ({"timeout": "1.5s"}, 121.5),
        ({"timeout": "500ms"}, 120.5),
        ({"timeout": "999999999h" * 40}, 1800),
        ({"timeout": "-5m"}, 420),
        ({"timeout": "soon"}, 120),
        ({"timeout": 7}, 420),
        ("s3", 120),
    ],
)
def test_the_time_limit_is_that_of_the_client(s3: Any, seconds: float) -> None:
    assert snapshots.parse(json.dumps({"operation": "save", "s3": s3}).encode()).seconds == seconds


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_the_values_are_the_limit_is_one(value: Any) -> None:
    body = json.dumps({"operation": value, "s3": {"timeout": value}, "name": value}).encode()
    wanted = snapshots.parse(body)
    assert 120 <= wanted.seconds <= 1800
    assert wanted.operation.isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_refusal(content: bytes) -> None:
    try:
        status, body = snapshots.unpack(content)
    except Refusal as refusal:
        assert refusal.status == 500
    else:
        assert status in range(200, 600) and isinstance(json.loads(body), dict)
