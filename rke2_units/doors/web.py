"""HTTP(S) to other machines through requests: for commands, which may need a proxy and can wait.

What a start waits for and what processes ask while they run goes through rke2_units.lean.http: importing
requests takes ten times as long as starting Python, it would keep 5 MB, and it has no time limit for a whole
answer. Who imports this module does so where it asks.

requests' own sessions are not used. They would read authorities and passwords (netrc) from the environment,
keep cookies, and read the body of a redirection whole, however long it is.
"""

import http.client
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from rke2_units import __version__
from rke2_units.errors import UserError

_HEADERS = {"User-Agent": f"rke2-units/{__version__}"}
_CHUNK = 1 << 16


class NoAnswer(UserError):
    """There is no whole and valid answer. `cause` is what the standard library raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(_explained(cause))
        self.cause = cause


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; the names of `headers` may be asked for in any case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def get(
    url: str,
    context: ssl.SSLContext | None = None,
    *,
    timeout: float,
    patience: float,
    limit: int,
    proxies: bool = False,
) -> Answer:
    """The answer, whatever its status is; redirections are not followed. Raises NoAnswer.

    `context` says whom to trust and as whom to ask; without one, this machine's authorities are trusted.
    Seconds: `timeout` without a byte, `patience` for the whole body. `limit` is in bytes: a longer answer
    with status 200 is an error, of another one the beginning is returned. With `proxies`, those of the
    environment are used.
    """
    deadline = time.monotonic() + patience
    parts = urlsplit(url)
    trust = None
    if parts.scheme == "https":
        trust = _Trust(context or ssl.create_default_context(), parts.hostname or "")
    adapter = _Adapter(trust)
    try:
        request = requests.Request("GET", url, _HEADERS).prepare()
        through = _proxies(url) if proxies else {}
        response = adapter.send(request, stream=True, timeout=timeout, proxies=through)
        try:
            body = _read(response, limit, deadline)
        finally:
            response.raw.close()
    except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise NoAnswer(_cause(error)) from None
    finally:
        adapter.close()  # type: ignore[no-untyped-call]
    return Answer(response.status_code, response.reason, response.headers, body)


def _read(response: requests.Response, limit: int, deadline: float) -> bytes:
    # http.client's: urllib3 1.26 has no read1, and its read does not return while bytes trickle in.
    source: http.client.HTTPResponse = response.raw._original_response
    content = bytearray()
    while chunk := source.read1(_CHUNK):
        content += chunk
        if len(content) > limit:
            if response.status_code == 200:
                raise OSError(f"larger than {limit} bytes")
            return bytes(content[:limit])
        if time.monotonic() > deadline:
            raise TimeoutError
    # read1 does not tell an end from a connection that was cut.
    if source.length:
        raise OSError(f"the connection was cut after {len(content)} bytes")
    return bytes(content)


class _Trust:
    """What urllib3 takes for an SSLContext: our own one behind it decides alone whom to trust.

    requests and urllib3 change the context that they are given: its verify_mode, its authorities.
    """

    verify_mode = ssl.CERT_REQUIRED
    check_hostname = True

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._context = context
        self._host = host

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        """Called by urllib3; our servers need none."""

    def wrap_socket(self, plain: socket, **_: object) -> ssl.SSLSocket:
        # urllib3 passes a server_hostname, but not for an IP address (1.26).
        return self._context.wrap_socket(plain, server_hostname=self._host)


class _Adapter(HTTPAdapter):
    def __init__(self, trust: _Trust | None) -> None:
        self._trust = trust
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        options["ssl_context"] = self._trust
        super().init_poolmanager(*arguments, **options)  # type: ignore[no-untyped-call]

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        options["ssl_context"] = self._trust
        return super().proxy_manager_for(proxy, **options)  # type: ignore[no-untyped-call]

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Would have urllib3 trust requests' own bundle of authorities."""


def _proxies(url: str) -> dict[str, str]:
    found = get_environ_proxies(url)
    return {scheme: found[scheme] for scheme in ("http", "https") if scheme in found}


def _cause(error: Exception) -> Exception:
    """What the standard library raised, which requests and urllib3 wrap several times."""
    found: BaseException | None = error
    while found and type(found).__module__.partition(".")[0] in ("requests", "urllib3"):
        found = found.__context__
    return found if isinstance(found, Exception) else error


def _explained(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({(error.reason or 'an error').lower().replace('_', ' ')})"
    if isinstance(error, http.client.HTTPException):
        return f"no valid answer ({type(error).__name__})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
