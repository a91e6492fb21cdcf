"""The transport to the Kubernetes API: requests and streams of JSON, over connections that are kept open.

A client of its own, on http.client: a watch reads one answer line by line for minutes, each thread keeps its
own connection, and close() ends all of them from another thread. rke2_units.lean.http reads each answer
whole and serves one thread. requests (rke2_units.doors.web) is too large for the processes that watch.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from rke2_units import __version__, printable
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.http import Identity, tls_context

Object = dict[str, Any]

JSON = "application/json"
# What one line of a stream may weigh: etcd takes objects of 1.5 MB.
_LARGEST_LINE = 16 << 20
_LONGEST_MESSAGE = 1000


class ApiError(UserError):
    """The API's refusal: HTTP's `status` (404), the API's `reason` ("NotFound") and `message` (one line)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class ApiUnavailable(UserError):
    """No valid answer: nobody listens, the connection broke, or it took too long. Worth another try."""


class _Kept:
    """A thread's connection, given back when the thread ends."""

    def __init__(self, transport: Transport, connection: http.client.HTTPConnection) -> None:
        self._transport = transport
        self.connection = connection

    def __del__(self) -> None:
        self._transport.disconnect(self.connection)


class Transport:
    """Connections to one server: each thread has one of its own, a stream one for as long as it lasts."""

    def __init__(self, url: str, identity: Identity | None, timeout: float) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host, self._port = parts.hostname or "", parts.port
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._context = tls_context(identity or Identity())
            except OSError as error:
                hint = str(identity or "") or None
                raise ConfigurationError(f"no identity for {url}: {error}", hint=hint) from None
        self._of_thread = threading.local()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self.closed = threading.Event()

    def request(
        self, method: str, path: str, body: Object | None, content_type: str = JSON, accept: str = JSON
    ) -> Object:
        """The answer. Raises ApiError, ApiUnavailable."""
        parsed = _parsed_or_text(self.content(method, path, body, content_type, accept))
        if not isinstance(parsed, dict):
            raise ApiUnavailable(f"the answer of {self._url} is not an object")
        return parsed

    def content(
        self, method: str, path: str, body: Object | None, content_type: str = JSON, accept: str = JSON
    ) -> bytes:
        """The answer, whatever it is. Raises ApiError, ApiUnavailable."""
        headers = _headers(accept)
        payload = None
        if body is not None:
            headers["Content-Type"] = content_type
            payload = json.dumps(body, separators=(",", ":")).encode()
        deadline = time.monotonic() + self._timeout
        while True:
            response, answer = self._exchange(method, path, payload, headers)
            pause = _asked_pause(response)
            if pause is None or time.monotonic() + pause > deadline or self.closed.wait(pause):
                break
        if response.status >= 400:
            raise refusal(response.status, _parsed_or_text(answer))
        return answer

    def stream(self, path: str, accept: str, silence: float) -> Iterator[Object]:
        """The lines of an answer that goes on; ends when the server ends it or the connection breaks.

        Raises ApiError and ApiUnavailable for the beginning, and after `silence` seconds without a byte.
        """
        connection = self.connect(silence)
        try:
            try:
                connection.request("GET", path, headers=_headers(accept))
                response = connection.getresponse()
                if response.status != 200:
                    raise refusal(response.status, _parsed_or_text(response.read(_LARGEST_LINE)))
                # A line without its end is one that a broken connection cut off.
                while (line := response.readline(_LARGEST_LINE)).endswith(b"\n"):
                    parsed = _parsed_or_text(line)
                    if not isinstance(parsed, dict):
                        raise ApiUnavailable(f"the answer of {self._url} is not a stream of objects")
                    yield parsed
            except (OSError, http.client.HTTPException) as error:
                raise self._unavailable(error) from None
        finally:
            self.disconnect(connection)

    def close(self) -> None:
        """Closes all connections, from any thread; running requests end or raise ApiUnavailable."""
        with self._lock:
            self.closed.set()
            for connection in self._open:
                if connection.sock is not None:
                    try:
                        # Not SSLSocket's own shutdown, which takes the TLS state away from who is reading.
                        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
                    except OSError:
                        pass  # it was closed meanwhile
        self._of_thread.kept = None

    def _exchange(
        self, method: str, path: str, payload: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        while True:
            kept: _Kept | None = getattr(self._of_thread, "kept", None)
            reused = kept is not None and not _is_dropped(kept.connection)
            if kept is None or not reused:
                self._of_thread.kept = None
                kept = self._of_thread.kept = _Kept(self, self.connect(self._timeout))
            try:
                kept.connection.request(method, path, body=payload, headers=dict(headers))
                response = kept.connection.getresponse()
                return response, response.read()
            except (OSError, http.client.HTTPException) as error:
                self._of_thread.kept = kept = None
                # The server may end an idle connection just when it is used again. What would be created
                # twice is not sent twice.
                if reused and method != "POST" and isinstance(error, ConnectionError | ssl.SSLEOFError):
                    continue
                raise self._unavailable(error) from None

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._unavailable(error) from None
        with self._lock:
            if not self.closed.is_set():
                self._open.add(connection)
                return connection
        connection.close()
        raise ApiUnavailable(f"no more requests to {self._url}: this process is stopping")

    def disconnect(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _unavailable(self, error: Exception) -> ApiUnavailable:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
        if isinstance(error, TimeoutError):
            said = "timed out"  # of TLS' and the sockets' several words
        return ApiUnavailable(f"the Kubernetes API at {self._url} does not answer: {_one_line(said)}")


def refusal(status: int, answer: object) -> ApiError:
    """`answer`: the API's Status object, or what came in its place."""
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        reason, message = str(answer.get("reason") or ""), str(answer.get("message") or "")
    else:
        reason, message = "", str(answer)
    reason = reason or http.client.responses.get(status, str(status))
    return ApiError(status, _one_line(reason), _one_line(message) or reason)


def _headers(accept: str) -> dict[str, str]:
    return {"Accept": accept, "User-Agent": f"rke2-units/{__version__}"}


def _parsed_or_text(answer: bytes) -> object:
    try:
        parsed: object = json.loads(answer)
    except ValueError:
        return answer[:_LONGEST_MESSAGE].decode(errors="replace")
    return parsed


def _asked_pause(response: http.client.HTTPResponse) -> float | None:
    """The server's Retry-After in seconds; None without one."""
    asked = response.headers.get("Retry-After", "")
    if response.status not in (429, 503) or not asked.isascii() or not asked.isdigit():
        return None
    return max(1.0, float(asked[:6]))


def _is_dropped(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection has something to read: its end (or nothing that was asked for)."""
    if connection.sock is None:
        return True
    return bool(select.select([connection.sock], [], [], 0)[0])


def _one_line(text: str) -> str:
    return printable.line(text)[:_LONGEST_MESSAGE]
