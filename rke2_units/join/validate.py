"""Whom to believe: RKE2's sequence by which a node gets to know a cluster's authority (server-ca.crt)."""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rke2_units import ports
from rke2_units.certificates import token as tokens
from rke2_units.certificates.token import Token
from rke2_units.errors import ConfigurationError
from rke2_units.join.http import Connection, NotVerified, Refused

_CACERTS = "/cacerts"


class NoJoinApi(Refused):
    """Somebody else answers at this URL: an API server, a web server."""

    def __init__(self, url: str, refusal: Refused) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}")
        right = f"https://{host}:{ports.SUPERVISOR_PORT}"
        hint = f"servers are joined at port {ports.SUPERVISOR_PORT}: {right}"
        if right == url:
            hint = "does a balancer in between lead to this port of a server?"
        super().__init__(f"{refusal.message}: that is no server's join API", refusal.status, hint=hint)
        self.url = url


@dataclass(frozen=True)
class Trusted:
    """A server that may be told the token. `authority` is its server-ca.crt, byte by byte.

    `by_system`: its certificate is one that this machine's own authorities vouch for.
    """

    url: str
    authority: bytes
    by_system: bool = False

    def context(self) -> ssl.SSLContext:
        """A new one, that believes this server and no other."""
        return _system() if self.by_system else _only(self.authority)


def parse(text: str, source: str, *, user: str, pin_required: bool) -> Token:
    """The token, with `user` where it names none. ConfigurationError for what is none.

    `pin_required` (token-require-ca-pin): one without the authority's hash is refused.
    """
    found = tokens.parse(text, source)
    if pin_required and not found.ca_hash:
        raise ConfigurationError(
            f"{source} has no hash of the cluster's authority, and token-require-ca-pin is true",
            hint="use the long form (K10...), as server/token of a server has it",
        )
    if found.bootstrap or found.user:
        return found
    return Token(found.ca_hash, user, found.password)


def unverified(token: Token, source: str) -> str | None:
    """The warning for a token by which nobody can tell the cluster from another; None for a long one."""
    if token.ca_hash:
        return None
    return (
        f"{source} has no hash of the cluster's authority: whoever answers as this server is believed, and "
        "is told the token; use the long form (K10...) of server/token"
    )


def trust(url: str, token: Token) -> Trusted:
    """The server, once it has proven to own the authority that the token names.

    With a hash in the token that authority alone counts; without one, as in RKE2, those of the system come
    first. Nothing secret is sent. Raises Unreachable, NotVerified and Refused.
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
    # Whoever has the authority's certificate need not have its keys.
    if _cacerts(url, _only(bundle), any_subject=False) != bundle:
        raise Refused(f"{url} has given two different authorities", 200)
    return Trusted(url, bundle)


def connect(server: Trusted, token: Token) -> Connection:
    """With the token as credentials."""
    return _connection(server, server.context(), {"Authorization": authorization(token)})


def with_certificate(server: Trusted, certificate: str, key: str) -> Connection:
    """With a client certificate (paths of PEM files). OSError when the files cannot be used."""
    context = server.context()
    context.load_cert_chain(certificate, key)
    return _connection(server, context, {})


def authorization(token: Token) -> str:
    """The header's value: a bootstrap token is a bearer's, all others are user and password."""
    if token.bootstrap:
        return f"Bearer {token.bootstrap}"
    return "Basic " + base64.b64encode(f"{token.user}:{token.password}".encode()).decode()


def _connection(server: Trusted, context: ssl.SSLContext, headers: Mapping[str, str]) -> Connection:
    # A balancer that the system vouches for has a subject of its own.
    return Connection(server.url, context, headers, any_subject=server.by_system)


def _cacerts(url: str, context: ssl.SSLContext, *, any_subject: bool = True) -> bytes:
    try:
        with Connection(url, context, {}, any_subject=any_subject) as connection:
            return connection.get(_CACERTS)
    except Refused as error:
        # Everybody may ask for this.
        raise NoJoinApi(url, error) from None


def _compare(url: str, token: Token, bundle: bytes) -> None:
    try:
        found = tokens.authority_hash(bundle)
    except ConfigurationError as error:
        raise Refused(f"{url}{_CACERTS}: {error.message}", 200) from None
    if not token.names_authority(found):
        raise Refused(
            f"token CA hash does not match the Cluster CA certificate hash of {url}: that is {found}",
            200,
            hint="the token is another cluster's, or this server is not who it claims to be",
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
