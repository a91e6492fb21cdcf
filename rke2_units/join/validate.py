"""Establishes trust: RKE2's steps by which a node fetches and checks a cluster's CA (server-ca.crt)."""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rke2_units import ports
from rke2_units.certificates import token as tokens
from rke2_units.certificates.token import Token
from rke2_units.errors import ConfigurationError
from rke2_units.join.http import LARGEST_ANSWER, TIMEOUT, Connection, NotVerified, Refused

_CACERTS = "/cacerts"


class NoJoinApi(Refused):
    """Something else answers at this URL: an API server or a web server, for example."""

    def __init__(self, url: str, refusal: Refused) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}")
        right = f"https://{host}:{ports.SUPERVISOR_PORT}"
        hint = f"the join API is at port {ports.SUPERVISOR_PORT}: {right}"
        if right == url:
            hint = "does a load balancer forward to another port?"
        super().__init__(f"{refusal.message}: this is not a server's join API", refusal.status, hint=hint)
        self.url = url


@dataclass(frozen=True)
class Trusted:
    """A server to which the token may be sent. `authority` is its server-ca.crt, byte by byte.

    `by_system`: its certificate is signed by one of this machine's system CAs.
    """

    url: str
    authority: bytes
    by_system: bool = False

    def context(self) -> ssl.SSLContext:
        """A new TLS context that trusts only this server's authority, or the system's."""
        return _system() if self.by_system else _only(self.authority)


def parse(text: str, source: str, *, user: str, pin_required: bool) -> Token:
    """The token, with `user` if it names no user. ConfigurationError if the text is not a token.

    `pin_required` (token-require-ca-pin): reject a token without the authority's hash.
    """
    found = tokens.parse(text, source)
    if pin_required and not found.ca_hash:
        raise ConfigurationError(
            f"{source} has no hash of the cluster's authority, and token-require-ca-pin is true",
            hint="use the long form (K10...), which is in server/token on a server",
        )
    if found.bootstrap or found.user:
        return found
    return Token(found.ca_hash, user, found.password)


def unverified(token: Token, source: str) -> str | None:
    """The warning that a short token cannot identify the cluster; None for a long one."""
    if token.ca_hash:
        return None
    return (
        f"{source} has no hash of the cluster's authority: whoever answers at the server's address is "
        "trusted and receives the token; use the long form (K10...), which is in server/token on a server"
    )


def trust(url: str, token: Token) -> Trusted:
    """The server, after it has proven that it owns the authority that the token names.

    With a hash in the token only that authority is accepted; without one, as in RKE2, the system CAs are
    tried first. Nothing secret is sent. Raises Unreachable, NotVerified and Refused.
    """
    if not token.ca_hash:
        try:
            bundle = _cacerts(url, _system())
        except NotVerified:
            pass
        else:
            _compare(url, token, bundle)
            return Trusted(url, bundle, by_system=True)
    bundle = _cacerts(url, _anybody())
    _compare(url, token, bundle)
    # Anybody can copy the authority's certificate, but not its key: verify the TLS connection with it.
    if _cacerts(url, _only(bundle), any_subject=False) != bundle:
        raise Refused(f"{url} returned two different CA bundles", 200)
    return Trusted(url, bundle)


def connect(
    server: Trusted, token: Token, *, timeout: float = TIMEOUT, largest: int = LARGEST_ANSWER
) -> Connection:
    """A connection with the token as credentials. `timeout` (s) and `largest` (bytes) limit an answer."""
    headers = {"Authorization": authorization(token)}
    return _connection(server, server.context(), headers, timeout, largest)


def with_certificate(server: Trusted, certificate: str, key: str) -> Connection:
    """A connection with a client certificate (paths of PEM files). OSError if they cannot be loaded."""
    context = server.context()
    context.load_cert_chain(certificate, key)
    return _connection(server, context, {})


def authorization(token: Token) -> str:
    """The Authorization header: Bearer for a bootstrap token, else Basic with user and password."""
    if token.bootstrap:
        return f"Bearer {token.bootstrap}"
    return "Basic " + base64.b64encode(f"{token.user}:{token.password}".encode()).decode()


def _connection(
    server: Trusted,
    context: ssl.SSLContext,
    headers: Mapping[str, str],
    timeout: float = TIMEOUT,
    largest: int = LARGEST_ANSWER,
) -> Connection:
    # A load balancer with a certificate of a system CA has its own subject.
    return Connection(
        server.url, context, headers, timeout=timeout, largest=largest, any_subject=server.by_system
    )


def _cacerts(url: str, context: ssl.SSLContext, *, any_subject: bool = True) -> bytes:
    try:
        with Connection(url, context, {}, any_subject=any_subject) as connection:
            return connection.get(_CACERTS)
    except Refused as error:
        # A server lets everybody fetch this.
        raise NoJoinApi(url, error) from None


def _compare(url: str, token: Token, bundle: bytes) -> None:
    try:
        found = tokens.authority_hash(bundle)
    except ConfigurationError as error:
        raise Refused(f"{url}{_CACERTS}: {error.message}", 200) from None
    if not token.names_authority(found):
        raise Refused(
            f"token CA hash does not match the Cluster CA certificate hash of {url}, which is {found}",
            200,
            hint="the token belongs to another cluster, or another machine answers instead of this server",
        )


def _system() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _only(bundle: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=tokens.anchors(bundle))
    return context
