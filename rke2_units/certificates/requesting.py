"""Requests certificates from servers, for keys that stay on this machine, and checks the answers."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from rke2_units.certificates import certificate, keys, leaf, pem, table
from rke2_units.certificates.request import Request
from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.model import File


@dataclass(frozen=True)
class Issuer:
    """An authority whose key servers have: its certificate, and the bundle appended to what it issues."""

    certificate: x509.Certificate
    bundle: str


@dataclass(frozen=True)
class Held:
    """A key, and the existing certificate for it if that is still as wanted."""

    wanted: leaf.Wanted
    base: str
    key: keys.PrivateKey
    key_text: str
    certificate: str | None


def issuer(answer: str, what: str) -> Issuer:
    """The authority in a bundle from a server, of which only the certificates are kept.

    UserError, which names `what`, if the first certificate is not a CA certificate.
    """
    blocks = pem.certificates(answer)
    loaded = [certificate.load(block) for block in blocks]
    if not loaded or loaded[0] is None or None in loaded or not certificate.is_authority(loaded[0]):
        raise UserError(f"{what} is not a bundle of certificates that begins with a CA certificate")
    return Issuer(loaded[0], "".join(blocks))


def held(entry: table.Leaf, request: Request, authority: Issuer, now: datetime) -> Held:
    """The agent's key, existing or new, and its certificate if still as wanted; nothing is written."""
    base = f"{request.paths.agent}/{entry.name}"
    wanted = leaf.Wanted(
        entry.common_name.format(node_name=request.node_name),
        entry.organization,
        entry.usages,
        table.alternative_names(entry.names, request),
    )
    key, key_text = leaf.ensure_key(f"{base}.key")
    blocks = pem.certificates(files.read_text(f"{base}.crt") or "")
    existing = certificate.load(blocks[0]) if blocks else None
    fits = (
        existing is not None
        and certificate.not_after(existing) - now >= table.RENEWAL_WINDOW
        and leaf.difference(existing, wanted, authority.certificate, key.public_key()) is None
    )
    return Held(wanted, base, key, key_text, blocks[0] if fits else None)


def signing_request(key: keys.PrivateKey) -> bytes:
    """A certificate signing request (PKCS#10, DER) with the key only: servers decide on names."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(key, keys.signature_hash(key))
    return signed.public_bytes(serialization.Encoding.DER)


def issued(answer: str, asked: Held, authority: Issuer) -> str:
    """The certificate in a server's answer; UserError if it is not the requested one."""
    blocks = pem.certificates(answer)
    found = certificate.load(blocks[0]) if blocks else None
    if found is None:
        raise UserError(f"the server's answer holds no certificate for {asked.wanted.common_name}")
    other = leaf.difference(found, asked.wanted, authority.certificate, asked.key.public_key())
    if other is not None:
        name = asked.wanted.common_name
        raise UserError(
            f"the server returned another certificate than the one requested for {name}: {other}"
        )
    return blocks[0]


def with_issuer(held: Held, leaf_text: str, authority: Issuer) -> tuple[File, File]:
    """Key and certificate file, in the order of writing."""
    return (
        File(f"{held.base}.key", held.key_text, 0o600, secret=True),
        File(f"{held.base}.crt", leaf_text + authority.bundle, 0o600),
    )
