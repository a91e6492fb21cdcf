"""An HTTP/1.1 server on loopback that speaks as the Kubernetes API does; each test says what it answers."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.unit.quiet_server import QuietServer

Object = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    connection: int


@dataclass
class Reply:
    """`stream`: objects sent as lines, as a watch does; after them the connection is cut when `cut`."""

    status: int = 200
    body: Object | bytes = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterable[Object | bytes] | None = None
    cut: bool = False


Answer = Callable[[Request], Reply]


def refused(status: int, reason: str, message: str = "no") -> Reply:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return Reply(status, body)


class ApiServer:
    """`answer` may be changed at any time; `requests` are those that came, in order."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = lambda request: refused(404, "NotFound")
        self.requests: list[Request] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer is two writes: without it each costs 40 ms

            def setup(self) -> None:
                outer.connections += 1
                self.number = outer.connections
                super().setup()

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(content) if content else None,
                    self.number,
                )
                outer.requests.append(request)
                reply = outer.answer(request)
                if reply.stream is None:
                    self.send_whole(reply)
                else:
                    self.send_stream(reply)
                if reply.cut:
                    self.close_connection = True

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def send_whole(self, reply: Reply) -> None:
                if reply.cut:
                    return
                body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def send_stream(self, reply: Reply) -> None:
                self.send_response(reply.status)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for item in reply.stream or ():
                    line = item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                if not reply.cut:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = QuietServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def served(context: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    server = ApiServer(context)
    server.thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        server.thread.join()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Store:
    """An Answer that keeps objects by path, with versions: GET, POST, merge patch and DELETE."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 0

    def __call__(self, request: Request) -> Reply:
        path = request.path
        if request.method == "POST":
            path = f"{path}/{request.body['metadata']['name']}"
            if path in self.objects:
                return refused(409, "AlreadyExists")
            return Reply(201, self.put(path, request.body))
        if path not in self.objects:
            return refused(404, "NotFound")
        before = self.objects[path]
        if request.method == "DELETE":
            return Reply(body=self.objects.pop(path))
        if request.method == "GET":
            return Reply(body=before)
        wanted = (request.body.get("metadata") or {}).get("resourceVersion")
        if wanted not in (None, before["metadata"]["resourceVersion"]):
            return refused(409, "Conflict")
        return Reply(body=self.put(path, merged(before, request.body)))

    def put(self, path: str, obj: Object) -> Object:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self.objects[path] = {**obj, "metadata": metadata}
        return self.objects[path]


def merged(obj: Object, patch: Object) -> Object:
    """RFC 7386."""
    result = dict(obj)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[key] = value
    return result
