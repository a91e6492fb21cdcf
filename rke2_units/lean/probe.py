"""Makes a health check again and again, at next to no cost.

A client of our own in place of http.client: importing that costs more than everything else a gate does,
and what is asked for is one GET without redirects, on a connection that is kept. ssl is imported when a
server listens, not while connections are still refused.
"""

import socket

from rke2_units.lean.settings import HealthCheck

# A machine under emulation needs seconds for a TLS handshake.
_TIMEOUT = 10.0
# No answer to what is asked for here is as long.
_LIMIT = 1 << 20


class Probe:
    """One health check and the connection that is kept for it."""

    def __init__(self, check: HealthCheck, timeout: float = _TIMEOUT) -> None:
        self.check = check
        self.timeout = timeout
        self._connection: socket.socket | None = None

    def ask(self) -> str:
        """Why the component is not healthy, in words; "" when it is."""
        kept = self._connection is not None
        try:
            if self._connection is None:
                self._connection = self._connect()
            code, body = self._get(self._connection)
        except OSError as error:
            self.close()
            # A server may close a kept connection at any time: that says nothing about the component.
            return self.ask() if kept else _words(error, self.timeout)
        if code != 200:
            return f"HTTP {code}{_failed_checks(body)}"
        if self.check.contains and self.check.contains.encode() not in body:
            return f"answered without {self.check.contains!r}"
        return ""

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> socket.socket:
        check = self.check
        plain = socket.create_connection((check.host, check.port), timeout=self.timeout)
        if not check.encrypted:
            return plain
        try:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if check.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            else:
                context.load_verify_locations(check.authority or None)
            if check.certificate:
                context.load_cert_chain(check.certificate, check.key)
            return context.wrap_socket(plain, server_hostname=check.host)
        except BaseException:
            plain.close()
            raise

    def _get(self, connection: socket.socket) -> tuple[int, bytes]:
        host = f"[{self.check.host}]" if ":" in self.check.host else self.check.host
        request = f"GET {self.check.path} HTTP/1.1\r\nHost: {host}:{self.check.port}\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer = _more(connection, answer)
        lines = answer[:end].decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            raise ConnectionError("not an HTTP server")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip().lower()
        length = headers.get("content-length", "")
        start = end + 4
        body = answer[start:]
        if length.isdigit():
            while len(answer) - start < int(length):
                answer = _more(connection, answer)
            body = answer[start:]
        elif "chunked" in headers.get("transfer-encoding", ""):
            while not answer.endswith((b"\r\n0\r\n\r\n", b"\r\n\r\n0\r\n\r\n")):
                answer = _more(connection, answer)
            body = _unchunked(answer[start:])
        if headers.get("connection") == "close" or words[0] != "HTTP/1.1":
            self.close()
        return int(words[1]), body


def _more(connection: socket.socket, answer: bytes) -> bytes:
    part = connection.recv(16384)
    if not part:
        raise ConnectionError("the server closed the connection")
    if len(answer) > _LIMIT:
        raise ConnectionError("the answer is too long")
    return answer + part


def _unchunked(body: bytes) -> bytes:
    content = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size, 16)
        except ValueError:
            raise ConnectionError("not an HTTP server") from None
        if length <= 0:
            return content
        content += body[:length]
        body = body[length + 2 :]


def _words(error: OSError, timeout: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:.0f} s"
    return error.strerror or str(error)


def _failed_checks(body: bytes) -> str:
    """The checks that a Kubernetes health page names as failed ("[-]etcd failed: ...")."""
    failed = [
        line[3:].split(" ")[0] for line in body.decode(errors="replace").splitlines() if line[:3] == "[-]"
    ]
    return f", failed: {', '.join(failed[:4])}" if failed else ""
