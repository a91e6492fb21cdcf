"""Bootstrap data: what every server of a cluster must have alike, as RKE2 hands it on and keeps it in etcd.

One shape in the answer of /v1-rke2/server-bootstrap and, sealed with the server token's password, in etcd:
a JSON object, logical name -> {"Timestamp": RFC 3339, "Content": base64}.
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
# In etcd: one key for each token that the data was ever sealed with, normally one.
PREFIX = "/bootstrap/"

_ITERATIONS = 4096
_KEY_BYTES = 32
_NONCE_BYTES = 12
_WRONG = "the server that sent or stored it may be of another kind or damaged"


class WrongPassword(UserError):
    """The sealed data is another password's, or damaged."""


def pack(contents: Mapping[str, bytes], now: datetime) -> bytes:
    """The JSON text of these files by logical name; `now` has a time zone."""
    stamp = now.isoformat(timespec="seconds")
    entries = {
        name: {"Timestamp": stamp, "Content": base64.b64encode(content).decode()}
        for name, content in contents.items()
    }
    return json.dumps(entries, separators=(",", ":")).encode()


def unpack(text: bytes | str) -> dict[str, bytes]:
    """The files by logical name, those that FILES knows; UserError when this is no bootstrap data.

    Empty ones are left out: RKE2 has names for files that a server may not have. Old servers send the
    content alone in place of an object.
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
    """The key in etcd of the data that is sealed with this password (of the server token)."""
    return f"{PREFIX}{hashlib.sha256(password.encode()).hexdigest()[:12]}"


def seal(password: str, plain: bytes) -> str:
    """The value in etcd: "SALT:BASE64", AES-256-GCM under a key of PBKDF2; another one each time."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt = os.urandom(8).hex()
    nonce = os.urandom(_NONCE_BYTES)
    box = nonce + AESGCM(_derived(password, salt)).encrypt(nonce, plain, None)
    return f"{salt}:{base64.b64encode(box).decode()}"


def unseal(password: str, value: str) -> bytes:
    """What `seal` was given; WrongPassword when it is not to be had with this password."""
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
    # The salt is the text: RKE2 does not decode it.
    return hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), _ITERATIONS, _KEY_BYTES)
