"""Certificates for the keys of agents: the key is theirs, everything else is decided here."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.certificates import certificate, keys, signing
from rke2_units.certificates.authority import Authority
from rke2_units.certificates.signing import InvalidRequest

from .conftest import Node

NOW = datetime(2026, 2, 1, tzinfo=UTC)
KEY = keys.make()


def request_of(key: keys.PrivateKey, name: str = "") -> bytes:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    alternative = x509.SubjectAlternativeName([x509.DNSName("kubernetes")])
    signed = builder.add_extension(alternative, critical=False).sign(key, keys.signature_hash(key))
    return signed.public_bytes(serialization.Encoding.DER)


def issuer(node: Node, name: str) -> Authority:
    bundle = (node.tls / f"{name}.crt").read_text()
    return signing.authority_of(f"{name}.crt", bundle, (node.tls / f"{name}.key").read_text())


@pytest.mark.parametrize(
    "key",
    [KEY, ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["P-256", "P-521", "Ed25519"],
)
def test_the_key_of_a_request_is_taken(key: keys.PrivateKey) -> None:
    found = signing.requested_key(request_of(key))
    assert certificate.public_bytes(found) == certificate.public_bytes(key.public_key())


def test_small_and_unusual_keys_are_refused() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    unusual = ec.generate_private_key(ec.SECP224R1())
    old = dsa.generate_private_key(key_size=1024)  # noqa: S505
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    bodies = [request_of(small), request_of(unusual)]
    bodies.append(builder.sign(old, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    for body in bodies:
        with pytest.raises(InvalidRequest, match="keys of this type or size are not accepted"):
            signing.requested_key(body)


def test_a_request_for_the_key_of_another_is_refused() -> None:
    body = request_of(KEY)
    other = keys.make().public_key()
    stolen = body.replace(certificate.public_bytes(KEY.public_key()), certificate.public_bytes(other))
    assert stolen != body
    with pytest.raises(InvalidRequest, match="not signed with its own key"):
        signing.requested_key(stolen)


@given(st.binary(max_size=200))
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        signing.requested_key(body)


@given(st.integers(0, 255), st.integers(0, 1000))
def test_a_damaged_request_is_refused_or_still_of_its_own_key(byte: int, place: int) -> None:
    body = bytearray(request_of(KEY, "one"))
    body[place % len(body)] = byte
    try:
        found = signing.requested_key(bytes(body))
    except InvalidRequest:
        return
    assert certificate.public_bytes(found) == certificate.public_bytes(KEY.public_key())


def test_a_kubelets_serving_certificate_carries_its_names_and_no_requested_one(made: Node) -> None:
    key = signing.requested_key(request_of(KEY, "kubernetes"))
    text = signing.for_agent(
        "serving-kubelet", "two", ("192.0.2.6", "2001:db8::6"), key, issuer(made, "server-ca"), NOW
    )
    loaded = certificate.load_first(text)
    assert loaded is not None
    assert certificate.subject_texts(loaded, NameOID.COMMON_NAME) == ["two"]
    # Nor localhost: with it a node could pass for the apiserver on any machine's loopback.
    names = {"two", "192.0.2.6", "2001:db8::6"}
    assert certificate.alternative_names(loaded) == names == signing.names_of(text)
    usage = loaded.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.has_key(loaded, KEY.public_key())
    assert text.endswith((made.tls / "server-ca.crt").read_text())


@pytest.mark.parametrize(
    ("name", "common_name", "organizations"),
    [
        ("client-kubelet", "system:node:two", ["system:nodes"]),
        ("client-kube-proxy", "system:kube-proxy", []),
        ("client-rke2-controller", "system:rke2-controller", []),
    ],
)
def test_client_certificates_name_who_they_are_for(
    made: Node, name: str, common_name: str, organizations: list[str]
) -> None:
    text = signing.for_agent(name, "two", (), KEY.public_key(), issuer(made, "client-ca"), NOW)
    loaded = certificate.load_first(text)
    assert loaded is not None
    assert certificate.subject_texts(loaded, NameOID.COMMON_NAME) == [common_name]
    assert certificate.subject_texts(loaded, NameOID.ORGANIZATION_NAME) == organizations
    assert certificate.alternative_names(loaded) == frozenset()


def test_a_name_that_no_subject_can_hold_is_refused(made: Node) -> None:
    with pytest.raises(InvalidRequest, match="too long"):
        signing.for_agent("client-kubelet", "n" * 60, (), KEY.public_key(), issuer(made, "client-ca"), NOW)


def test_a_text_without_a_certificate_has_no_names() -> None:
    assert signing.names_of("nothing") == frozenset()
