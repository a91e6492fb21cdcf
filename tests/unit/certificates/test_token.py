"""The grammar of tokens and the hash of authorities."""

import hashlib
import string
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.certificates.token import Token, anchors, authority_hash, parse
from rke2_units.errors import ConfigurationError

HASH = "0123456789abcdef" * 4
BOOTSTRAP = "abcdef.0123456789abcdef"

# A self-signed P-256 certificate; its hash is what `sha256sum` prints for a file with this text.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnjCCAUOgAwIBAgIUXCmdV/CLezOH/+MwTltBgzNOFncwCgYIKoZIzj0EAwIw
JDEiMCAGA1UEAwwZcmtlMi1zZXJ2ZXItY2FAMTc2NzIyNTYwMDAeFw0yNjExMjIx
MzQ5MzZaFw0zNjExMTkxMzQ5MzZaMCQxIjAgBgNVBAMMGXJrZTItc2VydmVyLWNh
QDE3NjcyMjU2MDAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARbRU9AigrdtSN6
fPetumQMcITo6plQzp0Kgro5i5W/jnCCFXM5ohWJkJ4Qw+0rD+1f9XptoNnN2XhN
4UPHe6oAo1MwUTAdBgNVHQ4EFgQUvhHvWAG2V6OtVdeQ9/k8zwzOfpswHwYDVR0j
BBgwFoAUvhHvWAG2V6OtVdeQ9/k8zwzOfpswDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNJADBGAiEA7Z5d8qfeyVnXFUj+Nraaxuv2Rdum6fFcV8oUUA2xk9IC
IQDe9hHmZLRggaw/5czifJU0JIRQfGT1tb06cSrGKBil5g==
-----END CERTIFICATE-----
"""
CERTIFICATE_HASH = "7e2d9ef845b474828102c04ee5803ce0d1ca46378c0c46fd6963fe9bbeddb6e6"


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("secret", Token(password="secret")),
        ("user:secret", Token(password="user:secret")),
        ("a::b", Token(password="a::b")),
        (BOOTSTRAP, Token(bootstrap=BOOTSTRAP)),
        (BOOTSTRAP.upper(), Token(password=BOOTSTRAP.upper())),
        (f"{BOOTSTRAP}0", Token(password=f"{BOOTSTRAP}0")),
        (f"K10{HASH}::server:secret", Token(HASH, "server", "secret")),
        (f"K10{HASH}::node:a:b::c", Token(HASH, "node", "a:b::c")),
        (f"K10{HASH.upper()}::server:secret", Token(HASH, "server", "secret")),
        (f"K10{HASH}::{BOOTSTRAP}", Token(HASH, bootstrap=BOOTSTRAP)),
        ("K10::server:secret", Token("", "server", "secret")),
        ("K10:::secret", Token("", "", "secret")),
        (f"K10::{BOOTSTRAP}", Token(bootstrap=BOOTSTRAP)),
        ("k10secret", Token(password="k10secret")),
        ("passwörd ✓", Token(password="passwörd ✓")),
    ],
)
def test_token_is_taken_apart(text: str, token: Token) -> None:
    assert parse(text) == token


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "agent-token is empty"),
        ("secret\n", "control character"),
        ("sec\x00ret", "control character"),
        ("K10secret", "no ::"),
        (f"K10{HASH}:server:secret", "no ::"),
        (f"K10{HASH[1:]}::server:secret", "64 hexadecimal digits"),
        (f"K10{HASH}0::server:secret", "64 hexadecimal digits"),
        (f"K10{'g' * 64}::server:secret", "64 hexadecimal digits"),
        (f"K10{HASH}::secret", "no <user>:<password>"),
        (f"K10{HASH}::server:", "no <user>:<password>"),
        (f"K10{HASH}::", "no <user>:<password>"),
    ],
)
def test_what_is_no_token_is_refused_without_being_shown(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(text, "agent-token")
    assert complaint in str(raised.value)
    assert "secret" not in str(raised.value)


printable = st.characters(exclude_categories=("Cs", "Cc"))
passwords = st.text(printable, min_size=1).filter(lambda text: not text.startswith("K10"))
users = st.text(printable, min_size=1).filter(lambda text: ":" not in text)
bootstraps = st.from_regex(r"[a-z0-9]{6}\.[a-z0-9]{16}", fullmatch=True)
ca_hashes = st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64))


@given(ca_hashes, users, st.text(printable, min_size=1))
def test_long_form_survives_being_written_and_read(ca_hash: str, user: str, password: str) -> None:
    token = Token(ca_hash, user, password)
    assert parse(token.text()) == token


@given(ca_hashes, bootstraps)
def test_long_bootstrap_form_survives_being_written_and_read(ca_hash: str, bootstrap: str) -> None:
    token = Token(ca_hash, bootstrap=bootstrap)
    assert parse(token.text()) == token


@given(passwords)
def test_any_other_text_is_a_password_or_a_bootstrap_token(password: str) -> None:
    token = parse(password)
    assert token.password or token.bootstrap == password
    assert (token.ca_hash, token.user) == ("", "")


@given(st.text(string.printable) | st.text(string.printable).map(lambda text: f"K10{text}"))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        token = parse(text)
    except ConfigurationError:
        return
    assert bool(token.password) != bool(token.bootstrap)


def test_a_token_does_not_show_its_secret() -> None:
    assert "secret" not in repr(parse(f"K10{HASH}::server:secret"))
    assert BOOTSTRAP not in repr(parse(BOOTSTRAP))


def test_only_a_token_with_a_hash_insists_on_its_authority() -> None:
    assert parse("secret").names_authority(HASH)
    assert parse(f"K10{HASH}::server:secret").names_authority(HASH)
    assert not parse(f"K10{HASH}::server:secret").names_authority(HASH[::-1])


def test_hash_of_one_certificate_is_over_the_exact_bytes() -> None:
    assert authority_hash(CERTIFICATE.encode()) == CERTIFICATE_HASH
    commented = f"the authority of the first cluster\n{CERTIFICATE}".encode()
    assert authority_hash(commented) == hashlib.sha256(commented).hexdigest()
    assert authority_hash(CERTIFICATE.rstrip("\n").encode()) != CERTIFICATE_HASH


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def issue(name: str, key: Key, issuer: str, issuer_key: Key) -> x509.Certificate:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=10))
    )
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)


def bundle(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


ROOT_KEYS: dict[str, Key] = {
    "EC": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", ROOT_KEYS)
def test_hash_of_a_bundle_is_over_the_root_that_the_first_leads_to(kind: str) -> None:
    root_key = ROOT_KEYS[kind]
    middle_key, key, other_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = issue("root", root_key, "root", root_key)
    middle = issue("middle", middle_key, "root", root_key)
    first = issue("server-ca", key, "middle", middle_key)
    # Of the same name, but it signed nothing here.
    impostor = issue("root", other_key, "root", other_key)
    expected = hashlib.sha256(root.public_bytes(serialization.Encoding.DER)).hexdigest()

    assert authority_hash(bundle(first, middle, root)) == expected
    assert authority_hash(bundle(first, impostor, root, middle)) == expected
    for incomplete in (bundle(first, root), bundle(first, middle), bundle(first, middle, impostor)):
        with pytest.raises(ConfigurationError, match="does not lead to a root"):
            authority_hash(incomplete)


def test_what_the_hash_does_not_vouch_for_is_no_anchor() -> None:
    root_key, middle_key, key, foreign_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
    root = issue("root", root_key, "root", root_key)
    middle = issue("middle", middle_key, "root", root_key)
    first = issue("server-ca", key, "middle", middle_key)
    foreign = issue("foreign", foreign_key, "foreign", foreign_key)
    given = bundle(first, foreign, root, middle)
    assert authority_hash(given) == authority_hash(bundle(first, middle, root))
    assert anchors(given).encode() == bundle(first, middle, root)
    assert anchors(CERTIFICATE.encode()) == CERTIFICATE


@pytest.mark.parametrize("content", ["", "nothing", CERTIFICATE.replace("MII", "AAA", 1)])
def test_a_file_without_readable_certificates_has_no_hash(content: str) -> None:
    with pytest.raises(ConfigurationError, match="no certificates that can be read"):
        authority_hash(content.encode())
