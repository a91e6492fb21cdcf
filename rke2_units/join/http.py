"""HTTPS to one server's supervisor: short questions, one after another over a connection that is kept."""

import http.client
import json
import re
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlsplit

from rke2_units import __version__, ports
from rke2_units.doors.kubernetes_transport import refusal
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import clock
from rke2_units.lean import server_certificate

# RKE2's. The answers are small; one that does not end is none.
_TIMEOUT = 10.0
_LARGEST_ANSWER = 4 << 20
# What passes: another node with this one's address, too many requests, and what a server says of itself
# while it is coming up.
_TEMPORARY = (409, 429, 500, 502, 503, 504)


class Unreachable(UserError):
    """No answer, or one that says "later": worth another try, or another server.

    `pause`: how long (s) the server wants to be left alone, 0.0 when it does not say. It may say anything.
    """

    def __init__(self, message: str, *, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


class Busy(Unreachable):
    """429: also of somebody else's failed logins from this address, where a certificate may still do."""


class NotVerified(Unreachable):
    """The server's certificate is not one of the authority that was to be believed, or not a server's."""


class Refused(ConfigurationError):
    """The server's no, with HTTP's `status`: asking it again would not help."""

    def __init__(self, message: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class _NotAServer(OSError):
    pass


class _ToServer(http.client.HTTPSConnection):
    """Goes no further than the handshake with who has no server's certificate."""

    def connect(self) -> None:
        super().connect()
        if not server_certificate.is_servers(self.sock.getpeercert()):
            self.close()
            raise _NotAServer


class Connection:
    """`headers` go with every request. Errors name the URL, and none of the headers."""

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        headers: Mapping[str, str],
        *,
        timeout: float = _TIMEOUT,
        any_subject: bool = False,
    ) -> None:
        """`any_subject`: what is asked is no secret, or the authority is not one that signs for nodes."""
        parts = urlsplit(url)
        self._url = url
        self._headers = {"User-Agent": f"rke2-units/{__version__}", **headers}
        self._timeout = timeout
        kind = http.client.HTTPSConnection if any_subject else _ToServer
        self._connection = kind(
            parts.hostname or "", parts.port or ports.SUPERVISOR_PORT, timeout=timeout, context=context
        )

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str) -> bytes:
        return self.ask("GET", path)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of a 200. Raises Unreachable, NotVerified and Refused."""
        try:
            self._connection.request(method, path, body, {**self._headers, **(headers or {})})
            response = self._connection.getresponse()
            answer = self._read(response)
        except ssl.SSLCertVerificationError as error:
            # http.client's own, as the URL need not have a port.
            why = clock.said(error, self._connection.host, self._connection.port)
            raise NotVerified(f"{self._url}: its certificate is not to be believed: {why}") from None
        except _NotAServer:
            raise NotVerified(f"{self._url}: {server_certificate.NOT_A_SERVERS}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._url}: {_said(error)}") from None
        if response.status == 200:
            return answer
        why = refusal(response.status, _parsed(answer)).message
        message = (
            f"{self._url}{path}: {response.status} {http.client.responses.get(response.status, '')}: {why}"
        )
        if response.status in _TEMPORARY:
            kind = Busy if response.status == 429 else Unreachable
            raise kind(message, pause=_pause(response.getheader("Retry-After", "")))
        raise Refused(message, response.status)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        # A timeout counts anew with each byte that trickles in.
        deadline = time.monotonic() + self._timeout
        answer = b""
        while chunk := response.read1(1 << 16):
            answer += chunk
            if len(answer) > _LARGEST_ANSWER:
                raise OSError("the answer is too large")
            if time.monotonic() > deadline:
                raise TimeoutError
        response.close()  # or the connection would take it for unfinished
        return answer


def _pause(header: str) -> float:
    """Retry-After in seconds; 0.0 for a date, which is not what our servers say, and for nonsense."""
    return float(header) if re.fullmatch("[0-9]{1,9}", header) else 0.0


def _said(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({(error.reason or 'an error').lower().replace('_', ' ')})"
    if isinstance(error, http.client.HTTPException):
        return f"no valid answer ({type(error).__name__})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _parsed(answer: bytes) -> object:
    try:
        parsed: object = json.loads(answer)
    except ValueError:
        return answer[:1000].decode(errors="replace")
    return parsed
