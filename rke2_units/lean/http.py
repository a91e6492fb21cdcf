"""HTTP/1.1 for units' programs, which start within 100 ms, and for what a node asks when it starts and runs.

In place of http.client, because importing that takes longer than everything else that a gate does, and
because its time limit starts again with each byte that arrives. It asks small questions and reads each
answer whole, over a connection that it keeps. It follows no redirect, uses no proxy and reads nothing from
the environment. ssl is imported when a server accepts a connection, not while it refuses them.
"""

import time
from collections.abc import Callable, Mapping

TYPE_CHECKING = False  # typing has the same constant, and is slow to import
if TYPE_CHECKING:
    import socket
    import ssl

# A machine under emulation needs seconds for a TLS handshake.
TIMEOUT = 10.0
# Answers of the components are some KB long.
LIMIT = 1 << 20
_NO_SERVER = "not an HTTP server"


class Identity:
    """Who asks, and whom it trusts: paths of PEM files. Without an authority, no server is verified."""

    def __init__(
        self, authority: str | None = None, certificate: str | None = None, key: str | None = None
    ) -> None:
        self.authority = authority
        self.certificate = certificate
        self.key = key

    def __str__(self) -> str:
        return ", ".join(path for path in (self.authority, self.certificate, self.key) if path)


def tls_context(identity: Identity) -> "ssl.SSLContext":
    """Trusts this authority alone. Raises OSError (ssl.SSLError is one) for files that cannot be used."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if identity.authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(identity.authority)
    if identity.certificate:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


class NotAnAnswer(OSError):
    """What the server sends is no HTTP, or too much."""


class Answer:
    """`headers` have names and values in lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Connection:
    """To one server, made for the first question and kept for the next ones.

    With `trust` it speaks TLS. `accept` is called with the server's verified certificate (getpeercert)
    before anything is sent; what it raises ends the connection. `timeout` (s) limits each of: the
    connection, the handshake, the answer. `limit` (bytes) limits the answer.
    """

    def __init__(
        self,
        host: str,
        port: int,
        trust: "Identity | ssl.SSLContext | None" = None,
        *,
        timeout: float = TIMEOUT,
        limit: int = LIMIT,
        accept: Callable[[object], None] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._trust = trust
        self._timeout = timeout
        self._limit = limit
        self._accept = accept
        self._socket: socket.socket | None = None

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes = b""
    ) -> Answer:
        """The answer, whatever its status is. Raises OSError when there is no valid one.

        Raises ValueError for a path or a header that is not a line of printable ASCII characters.
        """
        is_kept = self._socket is not None
        try:
            return self._exchange(method, path, headers or {}, body)
        except BaseException as error:
            self.close()
            # A server may close a kept connection at any time. That does not answer the question.
            is_closed = isinstance(error, OSError) and not isinstance(error, TimeoutError | NotAnAnswer)
            if is_kept and is_closed and method == "GET":
                return self.ask(path, headers)
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = self._socket = self._socket or self._connect()
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise ValueError("a header is not one line of printable ASCII characters")
        connection.settimeout(self._timeout)
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        reader = _Reader(connection, self._timeout, self._limit)
        answer = reader.read()
        if not reader.can_go_on:
            self.close()
        return answer

    def _connect(self) -> "socket.socket":
        import socket

        connection = socket.create_connection((self._host, self._port), timeout=self._timeout)
        if self._trust is None:
            return connection
        try:
            context = tls_context(self._trust) if isinstance(self._trust, Identity) else self._trust
            connection = encrypted = context.wrap_socket(connection, server_hostname=self._host)
            if self._accept:
                self._accept(encrypted.getpeercert())
        except BaseException:
            connection.close()
            raise
        return connection


class _Reader:
    """Reads one answer. `can_go_on`: the connection serves for another question afterwards."""

    def __init__(self, connection: "socket.socket", timeout: float, limit: int) -> None:
        self._connection = connection
        self._end = time.monotonic() + timeout
        self._left = limit
        self._rest = bytearray()
        self.can_go_on = False

    def read(self) -> Answer:
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        status = _number(rest.partition(" ")[0])
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip().lower()
        has_end = True
        if status in (204, 304):
            body = b""
        elif "chunked" in headers.get("transfer-encoding", ""):
            body = self._chunks()
        elif "content-length" in headers:
            body = self._exactly(_number(headers["content-length"]))
        else:
            body = self._all()
            has_end = False
        closes = version != "HTTP/1.1" or headers.get("connection") == "close"
        self.can_go_on = has_end and not closes and not self._rest
        return Answer(status, headers, body)

    def _chunks(self) -> bytes:
        content = b""
        while size := _number(self._until(b"\r\n").partition(b";")[0].strip().decode("latin-1"), 16):
            content += self._exactly(size)
            self._until(b"\r\n")
        while self._until(b"\r\n"):
            pass  # trailers
        return content

    def _until(self, mark: bytes) -> bytes:
        while (place := self._rest.find(mark)) < 0:
            self._need_more()
        found = self._exactly(place)
        del self._rest[: len(mark)]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._need_more()
        found = bytes(self._rest[:size])
        del self._rest[:size]
        return found

    def _all(self) -> bytes:
        while self._more():
            pass
        return self._exactly(len(self._rest))

    def _need_more(self) -> None:
        if not self._more():
            raise ConnectionError("the server closed the connection")

    def _more(self) -> bool:
        """Adds what has arrived to the rest; False when the server has closed the connection."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(seconds)
        part = self._connection.recv(16384)
        self._left -= len(part)
        if self._left < 0:
            raise NotAnAnswer("the answer is too long")
        self._rest += part
        return bool(part)


def split(url: str, default_port: int = 0) -> tuple[bool, str, int, str]:
    """Of an http or https URL: whether it is https, its host, its port and its path with the query.

    Raises ValueError for another one, also for one without a port when there is no default.
    """
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = place, str(default_port or "")
    if scheme not in ("http", "https") or not host or not port.isdecimal():
        raise ValueError(f"{url} is not a URL like http://127.0.0.1:2381/health")
    return scheme == "https", host.strip("[]"), int(port), slash + path or "/"


def ask(url: str, identity: Identity | None = None, *, timeout: float = 3.0) -> tuple[int, str]:
    """The status and the body of the answer to a GET, over a new connection. Raises OSError without one."""
    is_https, host, port, path = split(url)
    trust = (identity or Identity()) if is_https else None
    with Connection(host, port, trust, timeout=timeout) as connection:
        answer = connection.ask(path)
    return answer.status, answer.body.decode(errors="replace")


def _number(text: str, base: int = 10) -> int:
    # int() takes more: signs, spaces, digits of other scripts, any length.
    if not 0 < len(text) < 10 or not text.isascii() or not text.isalnum():
        raise NotAnAnswer(_NO_SERVER)
    try:
        return int(text, base)
    except ValueError:
        raise NotAnAnswer(_NO_SERVER) from None
