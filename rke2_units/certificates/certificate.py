"""Reads certificates: their dates, keys, names and extensions, and the chain to their root.

Written for cryptography 38, whose dates are naive UTC; later versions have `*_utc` and warn about those.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from rke2_units.certificates import pem
from rke2_units.certificates.keys import PublicKey


def load(text: str) -> x509.Certificate | None:
    """The certificate in one PEM block, None if it cannot be parsed."""
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        return None


def load_first(text: str) -> x509.Certificate | None:
    """The first certificate of a bundle, None if there is none or it cannot be parsed."""
    blocks = pem.certificates(text)
    return load(blocks[0]) if blocks else None


def not_before(certificate: x509.Certificate) -> datetime:
    return _date(certificate, "not_valid_before")


def not_after(certificate: x509.Certificate) -> datetime:
    return _date(certificate, "not_valid_after")


def _date(certificate: x509.Certificate, attribute: str) -> datetime:
    aware: datetime | None = getattr(certificate, f"{attribute}_utc", None)
    if aware is not None:
        return aware
    naive: datetime = getattr(certificate, attribute)
    return naive.replace(tzinfo=UTC)


def public_bytes(key: PublicKey) -> bytes:
    """The key's SubjectPublicKeyInfo, by which keys are compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def has_key(certificate: x509.Certificate, key: PublicKey) -> bool:
    """Whether the certificate is one for this key."""
    try:
        own = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return isinstance(own, PublicKey) and public_bytes(own) == public_bytes(key)


def key_id(certificate: x509.Certificate) -> bytes:
    """The authority key identifier of certificates that this one signs."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return found.value.digest


def authority_key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.key_identifier


def is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def subject_texts(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    """The values of one attribute of the subject, in their order."""
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]


def alternative_names(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names and addresses (in canonical form) that the certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset([*found.get_values_for_type(x509.DNSName), *map(str, addresses)])


def key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    """RKE2's key usages for an authority (which signs certificates) and for all others."""
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=sign_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def text(certificate: x509.Certificate) -> str:
    """PEM, with a final newline."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def chain(certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """The first certificate and its issuers up to the self-signed root; empty if that is missing."""
    found, others = certificates[:1], certificates[1:]
    while others:
        issuer = next((one for one in others if _signed(found[-1], one)), None)
        if issuer is None:
            break
        found.append(issuer)
        if issuer.issuer == issuer.subject:
            return found
        others = [other for other in others if other is not issuer]
    return []


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed the certificate."""
    if certificate.issuer != issuer.subject:
        return False
    key, algorithm = issuer.public_key(), certificate.signature_hash_algorithm
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True
