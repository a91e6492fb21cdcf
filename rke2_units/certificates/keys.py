"""Private keys: creates, writes and reads them in RKE2's formats."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from rke2_units.certificates import pem
from rke2_units.errors import ConfigurationError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def make() -> ec.EllipticCurvePrivateKey:
    """A new key for an authority or a certificate: P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def make_service_account_key() -> rsa.RSAPrivateKey:
    """A new key to sign service account tokens: RSA 2048."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def text(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    """PEM: SEC 1 ("EC PRIVATE KEY"), PKCS#1 ("RSA PRIVATE KEY")."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


def load(path: str, content: str, *, hint: str) -> PrivateKey:
    """The first private key in a file's content; ConfigurationError with `hint` if it cannot be used."""
    block = pem.first_private_key(content)
    if block is None:
        raise ConfigurationError(f"{path} holds no private key in PEM form", hint=hint)
    try:
        key = serialization.load_pem_private_key(block.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path} holds a private key that cannot be read", hint=hint) from error
    if not isinstance(key, PrivateKey):
        raise ConfigurationError(
            f"{path} holds a private key that is neither EC, RSA nor Ed25519", hint=hint
        )
    return key


def signature_hash(key: PrivateKey) -> hashes.SHA256 | None:
    """The hash with which the key signs certificates; None for Ed25519, which includes one."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
