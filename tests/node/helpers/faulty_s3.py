"""Stands before a real S3 server: passes requests on, and fails those that it is told to.

Usage: faulty_s3.py PORT SERVER-PORT FAULT-FILE [CERTIFICATE KEY]. The file holds one of FAULTS or nothing,
and is read at each request. It listens on all addresses, with TLS if there is a certificate; the server is
on loopback. Signatures stay valid: the client's Host is passed on.
"""

import email.utils
import http.client
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Bytes: bodies of more are those of snapshots.
LARGE = 1 << 16
FAULTS = {
    "403": "every request is refused",
    "skewed": "every request is refused, since the server's clock is 20 minutes ahead",
    "503": "the server asks to slow down",
    "503 once": "the same, for one request",
    "cut upload": "the connection ends in the middle of each large upload",
    "cut upload once": "the same, for one upload",
    "cut download": "the connection ends in the middle of each large download",
    "held upload": "the server takes half of each large upload, and the connection stays",
    "held download": "each large download stops in the middle, and the connection stays",
    "slow": "each large download goes on with a byte in 50 ms",
    "no end": "the server answers with headers that do not end, a byte in 50 ms",
}
_REFUSALS = {
    "403": (403, "AccessDenied"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "503": (503, "SlowDown"),
    "503 once": (503, "SlowDown"),
}


class Handler(BaseHTTPRequestHandler):
    """`server_port` and `fault_file` are those of the command line; `requests` has all heads, in order."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_port = 0
    fault_file = Path()
    requests: list[tuple[str, str, dict[str, str]]]

    def handle_any(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        self.requests.append((self.command, self.path, headers))
        fault = self.fault_file.read_text().strip()
        if fault.endswith(" once"):
            is_meant = fault.startswith("503") or self.body_size() > LARGE
            if is_meant:
                self.fault_file.write_text("")
            fault = fault.removesuffix(" once") if is_meant else ""
        if fault == "no end":
            self.pass_slowly(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000)
            return
        if fault.endswith("upload") and self.body_size() > LARGE:
            self.rfile.read(self.body_size() // 2)
            if fault == "held upload":
                time.sleep(3600)
            self.close_connection = True
            return
        body = self.rfile.read(self.body_size())
        if fault in _REFUSALS:
            self.refuse(*_REFUSALS[fault], minutes=20 if fault == "skewed" else 0)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=60)
        upstream.request(self.command, self.path, body=body or None, headers=headers)
        answer = upstream.getresponse()
        # Without them, the server's own would be there twice.
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length is None:
            self.send_header("Connection", "close")
        self.end_headers()
        content = answer.read()
        upstream.close()
        is_large = self.command == "GET" and len(content) > LARGE
        self.pass_on(content, fault if is_large else "")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def body_size(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def pass_on(self, content: bytes, fault: str) -> None:
        half = len(content) // 2
        if fault in ("cut download", "held download", "slow"):
            self.wfile.write(content[:half])
            if fault == "held download":
                time.sleep(3600)
            if fault == "slow":
                self.pass_slowly(content[half:])
            self.close_connection = True
            return
        if self.command != "HEAD":
            self.wfile.write(content)

    def pass_slowly(self, content: bytes) -> None:
        self.close_connection = True
        for place in range(len(content)):
            try:
                self.wfile.write(content[place : place + 1])
            except OSError:
                return
            time.sleep(0.05)

    def refuse(self, status: int, code: str, minutes: int) -> None:
        body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(time.time() + 60 * minutes, usegmt=True))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The server behind it has a log."""


class Server(ThreadingHTTPServer):
    """Its clients leave in the middle, which is no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


def serve(
    port: int,
    server_port: int,
    fault_file: Path,
    certificate: tuple[Path, Path] | None = None,
    host: str = "",
) -> tuple[Server, type[Handler]]:
    """The server, which is to be run, and what has the requests."""

    class Own(Handler):
        requests: list[tuple[str, str, dict[str, str]]] = []

    Own.server_port, Own.fault_file = server_port, fault_file
    server = Server((host, port), Own)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        # The handshake is made by the thread of the connection.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server, Own


def main() -> None:
    port, server_port, fault_file, *certificate = sys.argv[1:]
    files = (Path(certificate[0]), Path(certificate[1])) if certificate else None
    serve(int(port), int(server_port), Path(fault_file), files)[0].serve_forever()


if __name__ == "__main__":
    main()
