"""Certificates for components: when and how they are issued and renewed."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rke2_units.certificates import certificate, keys, pem, table
from rke2_units.certificates.authority import Authority
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError
from rke2_units.model import File

_USAGES = {
    table.Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    table.Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
}


@dataclass(frozen=True)
class Wanted:
    """The wanted contents of a certificate; `names` are DNS names and addresses."""

    common_name: str
    organization: str
    usages: tuple[table.Usage, ...]
    names: tuple[str, ...]


def ensure(
    wanted: Wanted,
    base: str,
    authority: Authority,
    now: datetime,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
) -> tuple[File, File]:
    """Key and certificate file at `base`, existing or new; nothing is written yet.

    The certificate is followed by its issuer's bundle. The key is written first: a start that is killed
    between the two leaves a key, for which the next start issues the certificate.
    """
    key, key_text = ensure_key(f"{base}.key")
    path = f"{base}.crt"
    blocks = pem.certificates(files.read_text(path) or "")
    existing = certificate.load(blocks[0]) if blocks else None
    if existing is not None and renewal_reason(existing, wanted, authority, key.public_key(), now) is None:
        text = blocks[0]
    else:
        text = sign(wanted, key.public_key(), authority, authority.signing_key(path), path, now)
    user, group = owner
    return (
        File(f"{base}.key", key_text, 0o600, user, group, secret=True),
        File(path, text + authority.bundle, mode, user, group),
    )


def ensure_key(path: str) -> tuple[keys.PrivateKey, str]:
    """The private key in this file and the file's text; a new key if it is missing or empty."""
    text = files.read_text(path) or ""
    if text.strip():
        return keys.load(path, text, hint="remove this file: a new key is then created"), text
    made = keys.make()
    return made, keys.text(made)


def renewal_reason(
    existing: x509.Certificate,
    wanted: Wanted,
    authority: Authority,
    key: keys.PublicKey,
    now: datetime,
) -> str | None:
    """Why the certificate must be renewed; None if it need not be. The rule is RKE2's.

    In addition, it must match the key beside it and name its issuer, which an interrupted rotation can
    prevent.
    """
    if certificate.not_after(existing) - now < table.RENEWAL_WINDOW:
        return f"it expires on {certificate.not_after(existing):%Y-%m-%d}"
    return difference(existing, wanted, authority.certificate, key)


def difference(
    existing: x509.Certificate, wanted: Wanted, issuer: x509.Certificate, key: keys.PublicKey
) -> str | None:
    """How the certificate differs from the wanted one, apart from its dates; None if it does not."""
    if certificate.subject_texts(existing, NameOID.COMMON_NAME) != [wanted.common_name]:
        return "its common name changed"
    organizations = [wanted.organization] if wanted.organization else []
    if certificate.subject_texts(existing, NameOID.ORGANIZATION_NAME) != organizations:
        return "its organization changed"
    missing = {_canonical(name) for name in wanted.names} - certificate.alternative_names(existing)
    if missing:
        return f"it is not valid for {', '.join(sorted(missing))}"
    if (
        certificate.authority_key_id(existing) != certificate.key_id(issuer)
        or existing.issuer != issuer.subject
    ):
        return "another authority issued it"
    if not certificate.has_key(existing, key):
        return "it belongs to another key"
    return None


def _canonical(name: str) -> str:
    address = _address(name)
    return name if address is None else str(address)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _general_names(names: Sequence[str], path: str) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        address = _address(name)
        try:
            found.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
        except ValueError as error:
            raise ConfigurationError(
                f"{name!r} cannot be a name in the certificate {path}",
                hint="see tls-san and node-name; write an international name in its xn-- form",
            ) from error
    return found


def _subject(wanted: Wanted, path: str) -> x509.Name:
    # X.509's limits for common names and organizations.
    for text in (wanted.common_name, wanted.organization):
        if len(text) > 64:
            raise ConfigurationError(
                f"{text!r} is too long for the subject of {path}: {len(text)} characters, 64 at most",
                hint="set a shorter node-name",
            )
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)
    if not wanted.organization:
        return x509.Name([common_name])
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, wanted.organization), common_name])


def sign(
    wanted: Wanted,
    public_key: keys.PublicKey,
    authority: Authority,
    signing_key: keys.PrivateKey,
    path: str,
    now: datetime,
) -> str:
    """The certificate in PEM form, without its issuer's bundle; errors name `path`."""
    issuer = authority.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(wanted, path))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # As in RKE2, valid from the same moment as its issuer: a clock that is a little behind does no harm.
        .not_valid_before(certificate.not_before(issuer))
        .not_valid_after(now - timedelta(microseconds=now.microsecond) + table.LEAF_VALIDITY)
        .add_extension(certificate.key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in wanted.usages]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier(certificate.key_id(issuer), None, None), critical=False)
    )
    if wanted.names:
        names = x509.SubjectAlternativeName(_general_names(wanted.names, path))
        builder = builder.add_extension(names, critical=False)
    return certificate.text(builder.sign(signing_key, keys.signature_hash(signing_key)))
