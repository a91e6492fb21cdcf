"""Bootstrap data: the files that all servers of a cluster share, in RKE2's format.

The answer of /v1-rke2/server-bootstrap and, encrypted with the server token's password, the value in etcd
are a JSON object, logical name -> {"Timestamp": RFC 3339, "Content": base64}.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import datetime

from rke2_units import layout
from rke2_units.errors import UserError

# By RKE2's logical names.
FILES = layout.BOOTSTRAP_FILES
# In etcd: a key for each token with which the data was ever encrypted, normally one.
PREFIX = "/bootstrap/"

_ITERATIONS = 4096
_KEY_BYTES = 32
_NONCE_BYTES = 12
_WRONG = "the server that sent or stored it may be of another kind or damaged"


class WrongPassword(UserError):
    """The data was encrypted with another password, or is damaged."""


def pack(contents: Mapping[str, bytes], now: datetime) -> bytes:
    """The JSON text of these files by logical name; `now` has a time zone."""
    stamp = now.isoformat(timespec="seconds")
    entries = {
        name: {"Timestamp": stamp, "Content": base64.b64encode(content).decode()}
        for name, content in contents.items()
    }
    return json.dumps(entries, separators=(",", ":")).encode()


def unpack(text: bytes | str) -> dict[str, bytes]:
    """The files in FILES, by logical name; UserError if the text is not bootstrap data.

    Empty files are left out: RKE2 sends names of files that a server may lack. Old servers send the content
    instead of an object.
    """
    try:
        entries = json.loads(text)
    except ValueError:
        raise UserError("the bootstrap data is not JSON", hint=_WRONG) from None
    if not isinstance(entries, dict):
        raise UserError("the bootstrap data is not a JSON object", hint=_WRONG)
    found = {}
    for name in FILES:
        entry = entries.get(name)
        content = entry.get("Content") if isinstance(entry, dict) else entry
        if content is None:
            continue
        try:
            decoded = base64.b64decode(content, validate=True)
        except (TypeError, ValueError):
            raise UserError(f"the bootstrap data's {name} is not base64", hint=_WRONG) from None
        if decoded:
            found[name] = decoded
    return found


def key(password: str) -> str:
    """The key in etcd of the data that is encrypted with this password (of the server token)."""
    return f"{PREFIX}{hashlib.sha256(password.encode()).hexdigest()[:12]}"


def seal(password: str, plain: bytes) -> str:
    """The value in etcd: "SALT:BASE64", AES-256-GCM with a key from PBKDF2 and random salt and nonce."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt = os.urandom(8).hex()
    nonce = os.urandom(_NONCE_BYTES)
    box = nonce + AESGCM(_derived(password, salt)).encrypt(nonce, plain, None)
    return f"{salt}:{base64.b64encode(box).decode()}"


def unseal(password: str, value: str) -> bytes:
    """Decrypts the result of `seal`; WrongPassword if that fails."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, _, text = value.partition(":")
    try:
        box = base64.b64decode(text, validate=True)
        nonce, sealed = box[:_NONCE_BYTES], box[_NONCE_BYTES:]
        return AESGCM(_derived(password, salt)).decrypt(nonce, sealed, None)
    except (binascii.Error, ValueError, InvalidTag):
        raise WrongPassword(
            "bootstrap data already found and encrypted with different token",
            hint="give this server the token of the cluster",
        ) from None


def _derived(password: str, salt: str) -> bytes:
    # The salt is the hexadecimal text itself: RKE2 does not decode it.
    return hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), _ITERATIONS, _KEY_BYTES)
