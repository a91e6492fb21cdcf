"""HTTPS to the join API of one server: short requests over one connection."""

import json
import re
import ssl
from collections.abc import Mapping
from http.client import responses
from types import TracebackType
from urllib.parse import urlsplit

from rke2_units import __version__, ports
from rke2_units.doors.kubernetes_transport import refusal
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import clock
from rke2_units.lean import http, server_certificate

# RKE2's.
TIMEOUT = 10.0
# The answers for joining are small: a larger one is an error.
LARGEST_ANSWER = 4 << 20
# Temporary errors: another node has this one's address, too many requests, or a server is still starting.
_TEMPORARY = (409, 429, 500, 502, 503, 504)


class Unreachable(UserError):
    """There is no answer, or a temporary error: try again, or try another server.

    `pause`: after how many seconds the server wants a retry, 0.0 if it does not say. It may be any number.
    `status`: the HTTP status, 0 without an answer.
    """

    def __init__(self, message: str, *, pause: float = 0.0, status: int = 0) -> None:
        super().__init__(message)
        self.pause = pause
        self.status = status


class Busy(Unreachable):
    """429, which failed logins of others at this address can cause; a certificate may still be accepted."""


class NotVerified(Unreachable):
    """The server's certificate is not signed by the trusted authority, or not for a server."""


class Refused(ConfigurationError):
    """The server rejected the request, with this HTTP `status`: a retry would not help."""

    def __init__(self, message: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Connection:
    """`headers` are sent with every request. Errors contain the URL, and none of the headers."""

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        headers: Mapping[str, str],
        *,
        timeout: float = TIMEOUT,
        largest: int = LARGEST_ANSWER,
        any_subject: bool = False,
    ) -> None:
        """`largest`: bytes of an answer. `any_subject`: what is asked is no secret, or the authority is not
        one that signs for nodes."""
        parts = urlsplit(url)
        self._url = url
        self._host, self._port = parts.hostname or "", parts.port or ports.SUPERVISOR_PORT
        self._headers = {"User-Agent": f"rke2-units/{__version__}", **headers}
        self._connection = http.Connection(
            self._host,
            self._port,
            context,
            timeout=timeout,
            limit=largest,
            accept=None if any_subject else self._accept,
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
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of a 200. Raises Unreachable, NotVerified and Refused."""
        try:
            answer = self._connection.ask(
                path, {**self._headers, **(headers or {})}, method=method, body=body
            )
        except ssl.SSLCertVerificationError as error:
            why = clock.said(error, self._host, self._port)
            raise NotVerified(f"{self._url}: its certificate is not trusted: {why}") from None
        except OSError as error:
            raise Unreachable(f"{self._url}: {_said(error)}") from None
        if answer.status == 200:
            return answer.body
        why = refusal(answer.status, _parsed(answer.body)).message
        message = f"{self._url}{path}: {answer.status} {responses.get(answer.status, '')}: {why}"
        if answer.status in _TEMPORARY:
            kind = Busy if answer.status == 429 else Unreachable
            pause = _pause(answer.headers.get("retry-after", ""))
            raise kind(message, pause=pause, status=answer.status)
        raise Refused(message, answer.status)

    def _accept(self, certificate: object) -> None:
        if not server_certificate.is_servers(certificate):
            raise NotVerified(f"{self._url}: {server_certificate.NOT_A_SERVERS}")


def _pause(header: str) -> float:
    """Retry-After in seconds; 0.0 for a date, which these servers do not send, and for invalid values."""
    return float(header) if re.fullmatch("[0-9]{1,9}", header) else 0.0


def _said(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({(error.reason or 'an error').lower().replace('_', ' ')})"
    return error.strerror or str(error) or type(error).__name__


def _parsed(answer: bytes) -> object:
    try:
        parsed: object = json.loads(answer)
    except ValueError:
        return answer[:1000].decode(errors="replace")
    return parsed
