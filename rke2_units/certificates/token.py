"""Join tokens in RKE2's format, and the hash of the cluster's authority in them."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

from rke2_units.cluster_names import BOOTSTRAP_TOKEN
from rke2_units.errors import ConfigurationError

_PREFIX = "K10"
_BOOTSTRAP = re.compile(BOOTSTRAP_TOKEN)
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FORMS = "a password, or K10<64 hexadecimal digits>::<user>:<password>"


@dataclass(frozen=True)
class Token:
    """`ca_hash` is empty in a token without a hash, `user` in the short form (the caller knows it).

    A bootstrap token (`abcdef.0123456789abcdef`) is in `bootstrap` and has neither user nor password.
    """

    ca_hash: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    bootstrap: str = field(default="", repr=False)

    def text(self) -> str:
        """The long form."""
        return f"{_PREFIX}{self.ca_hash}::{self.bootstrap or f'{self.user}:{self.password}'}"

    def names_authority(self, ca_hash: str) -> bool:
        """Whether the token's hash is this one; True for a token without a hash."""
        return not self.ca_hash or hmac.compare_digest(self.ca_hash, ca_hash)


def parse(text: str, what: str = "token") -> Token:
    """The token in `text`; ConfigurationError, which names `what` but never the text, if it is not one.

    A short password may contain colons: user and password are separated in the long form only.
    """
    if not text:
        raise ConfigurationError(f"{what} is empty", hint=f"it is {_FORMS}")
    if _CONTROL.search(text):
        raise ConfigurationError(f"{what} contains a line break or another control character")
    if not text.startswith(_PREFIX):
        return Token(bootstrap=text) if _BOOTSTRAP.fullmatch(text) else Token(password=text)
    ca_hash, separator, credentials = text.removeprefix(_PREFIX).partition("::")
    if not separator:
        raise ConfigurationError(f"{what} begins with K10 but has no ::", hint=f"it is {_FORMS}")
    if ca_hash and not _HASH.fullmatch(ca_hash):
        raise ConfigurationError(
            f"{what} has an authority hash that is not 64 hexadecimal digits", hint="copy it whole"
        )
    if _BOOTSTRAP.fullmatch(credentials):
        return Token(ca_hash.lower(), bootstrap=credentials)
    user, separator, password = credentials.partition(":")
    if not separator or not password:
        raise ConfigurationError(f"{what} has no <user>:<password> after the ::", hint=f"it is {_FORMS}")
    return Token(ca_hash.lower(), user, password)


def authority_hash(bundle: bytes) -> str:
    """The hash in tokens of the server authority's file (`server-ca.crt`), in lower-case hex.

    It is the SHA-256 of the file's exact bytes if it has one certificate; with several, of the DER form of
    the root to which the first one leads. ConfigurationError if it leads to no root in the file.
    """
    from cryptography.hazmat.primitives import serialization

    found = _chain(bundle)
    if len(found) == 1:
        return hashlib.sha256(bundle).hexdigest()
    return hashlib.sha256(found[-1].public_bytes(serialization.Encoding.DER)).hexdigest()


def anchors(bundle: bytes) -> str:
    """The certificates that the hash of this file covers, as PEM: anybody could add others to the file."""
    from rke2_units.certificates import certificate

    return "".join(map(certificate.text, _chain(bundle)))


def _chain(bundle: bytes) -> list[x509.Certificate]:
    # Only this needs cryptography, whose import takes longer than everything else here.
    from rke2_units.certificates import certificate, pem

    blocks = pem.certificates(bundle.decode(errors="replace"))
    loaded = [certificate.load(block) for block in blocks]
    readable = [one for one in loaded if one is not None]
    if not readable or len(readable) < len(loaded):
        raise ConfigurationError("the server authority's file holds no certificates that can be read")
    if len(readable) == 1:
        return readable
    found = certificate.chain(readable)
    if not found:
        raise ConfigurationError(
            "the first certificate of the server authority's file does not lead to a root in it",
            hint="the issuing authority comes first, then those above it, the self-signed root last",
        )
    return found
