import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rke2_units.machine import cloud_metadata

TOKEN = "c2VjcmV0"


class Service(BaseHTTPRequestHandler):
    """Amazon's instance metadata service, version 2: no answer without a token."""

    name = "ip-10-0-0-5.ec2.internal"

    def do_PUT(self) -> None:
        asked = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200 if asked else 400, TOKEN)

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self._answer(401, "")
        elif self.path == "/latest/meta-data/local-hostname":
            self._answer(200, self.name)
        else:
            self._answer(404, "")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Service]]:
    handler = type("Handler", (Service,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setattr(cloud_metadata, "SERVICE", f"http://127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()


def test_the_name_is_the_one_that_the_service_tells(service: type[Service]) -> None:
    assert cloud_metadata.local_hostname() == "ip-10-0-0-5.ec2.internal"


def test_a_service_without_a_name_gives_none(service: type[Service]) -> None:
    service.name = ""
    assert cloud_metadata.local_hostname() is None


def test_a_machine_without_the_service_has_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_metadata, "SERVICE", "http://127.0.0.1:9")
    assert cloud_metadata.local_hostname() is None
