"""HTTP and HTTPS to the components of this node, for short questions whose answers are checked."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Identity:
    """Who asks, and whom it believes: paths of PEM files. No authority: the peer is not verified."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None


def ask(
    url: str,
    identity: Identity | None = None,
    *,
    timeout: float = 3.0,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """The status and the body (at most 1 MiB) of an answer. Raises OSError when there is no valid one."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = tls_context(identity or Identity())
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(1 << 20).decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"{url} gave no valid answer: {error!r}") from None
    finally:
        connection.close()


def tls_context(identity: Identity) -> ssl.SSLContext:
    """Raises OSError (of which ssl.SSLError is one) for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if identity.authority:
        context.load_verify_locations(identity.authority)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity.certificate:
        context.load_cert_chain(identity.certificate, identity.key)
    return context
