"""Issues certificates to nodes: only the key is theirs, everything else is decided here."""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rke2_units.certificates import authority, certificate, keys, leaf, table
from rke2_units.certificates.request import Request
from rke2_units.errors import UserError
from rke2_units.layout import Paths

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
# Larger ones take long to check.
_RSA_BITS = range(2048, 4096 + 1)
# The errors of cryptography 38 for damaged requests, some of which OpenSSL parses again.
_UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, InternalError, UnsupportedAlgorithm)
_HINT = "send a request in DER form, signed with the key that it is for"


class InvalidRequest(UserError):
    """The request cannot be signed, or a certificate cannot have such a subject."""


def authority_of(path: str, bundle: str, key: str) -> authority.Authority:
    """The authority in these two PEM texts; errors name `path`."""
    first = certificate.load_first(bundle)
    if first is None:
        raise UserError(f"{path} holds no certificate that can be read")
    loaded = keys.load(path, key, hint="put the authority's key there") if key else None
    return authority.Authority(first, loaded, bundle, path, existed=True, files=())


def requested_key(body: bytes) -> keys.PublicKey:
    """The key of a PKCS#10 request in DER form, after its signature is verified; the subject is ignored.

    Raises InvalidRequest.
    """
    try:
        request = x509.load_der_x509_csr(body)
        key = request.public_key()
    except _UNREADABLE:
        raise InvalidRequest("this is not a certificate request in DER form", hint=_HINT) from None
    if isinstance(key, ec.EllipticCurvePublicKey):
        acceptable = key.curve.name in _CURVES
    elif isinstance(key, rsa.RSAPublicKey):
        acceptable = key.key_size in _RSA_BITS
    else:
        acceptable = isinstance(key, keys.PublicKey)
    if not acceptable or not isinstance(key, keys.PublicKey):
        raise InvalidRequest(
            "keys of this type or size are not accepted",
            hint="use P-256, P-384, P-521, Ed25519 or RSA 2048 to 4096",
        )
    try:
        proven = request.is_signature_valid
    except _UNREADABLE:
        proven = False
    if not proven:
        raise InvalidRequest("the certificate request is not signed with its own key", hint=_HINT)
    return key


def for_agent(
    name: str,
    node_name: str,
    node_ips: tuple[str, ...],
    key: keys.PublicKey,
    issuer: authority.Authority,
    now: datetime,
) -> str:
    """The agent's certificate `name` (table.AGENT_LEAVES) for this key, followed by its issuer's bundle.

    Raises InvalidRequest when a subject cannot hold the node's name, UserError when the issuer cannot sign.
    """
    entry = agent_leaf(name)
    names = table.alternative_names(entry.names, Request(Paths(), node_name, node_ips, names=()))
    common_name = entry.common_name.format(node_name=node_name)
    wanted = leaf.Wanted(common_name, entry.organization, entry.usages, names)
    signing_key = issuer.signing_key(f"{name}.crt")
    try:
        text = leaf.sign(wanted, key, issuer, signing_key, f"{name}.crt", now)
    except UserError as error:
        raise InvalidRequest(error.message, hint=error.hint) from None
    return text + issuer.bundle


def agent_leaf(name: str) -> table.Leaf:
    """The table's entry of this name; KeyError if agents have no such certificate."""
    return {entry.name: entry for entry in table.AGENT_LEAVES}[name]


def names_of(text: str) -> frozenset[str]:
    """The DNS names and addresses in the first certificate of a bundle; none without a certificate."""
    first = certificate.load_first(text)
    return certificate.alternative_names(first) if first else frozenset()
