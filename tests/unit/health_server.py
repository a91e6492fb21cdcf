"""A server that answers as Kubernetes' health endpoints do."""

import threading
from http.server import BaseHTTPRequestHandler

from tests.unit.quiet_server import QuietServer


class HealthServer:
    """An HTTP/1.1 server on loopback whose answer a test changes; it counts connections and requests."""

    def __init__(self) -> None:
        self.code = 200
        self.body = b"ok"
        self.chunked = False
        self.close = False
        self.connections = 0
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.code)
                if outer.close:
                    self.close_connection = True
                if outer.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(outer.body), outer.body))
                else:
                    self.send_header("Content-Length", str(len(outer.body)))
                    self.end_headers()
                    self.wfile.write(outer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = QuietServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/healthz"
