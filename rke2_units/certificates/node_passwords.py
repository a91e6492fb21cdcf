"""Node passwords in the cluster: a Secret with a hash for each node, in RKE2's format.

The hash is "$1:SALT:15:8:1:KEY": scrypt with N = 2^15, r = 8, p = 1, a salt of 8 bytes written in hex, a key
of 64 bytes in base64 without padding. A hash takes 32 MB and about 100 ms.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Any

NAMESPACE = "kube-system"
COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SUFFIX = ".node-password.rke2"

_LOG_N, _R, _P = 15, 8, 1
_SALT_BYTES, _KEY_BYTES = 8, 64
_MEMORY = 64 << 20
_PARAMETERS = f"{_LOG_N}:{_R}:{_P}"


def secret_name(node_name: str) -> str:
    """The name of the node's Secret in kube-system."""
    return f"{node_name.lower()}{SUFFIX}"


def secret(node_name: str, password: str) -> dict[str, Any]:
    """The new Secret of a node with this password (without the line end of its file)."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(node_name), "namespace": NAMESPACE},
        "type": "Opaque",
        "immutable": True,
        "data": {"hash": base64.b64encode(hashed(password).encode()).decode()},
    }


def hash_of(found: object) -> str:
    """The hash in the Secret `found` (the API's JSON), "" in any other object."""
    data = found.get("data") if isinstance(found, dict) else None
    encoded = data.get("hash") if isinstance(data, dict) else None
    try:
        return base64.b64decode(encoded, validate=True).decode() if isinstance(encoded, str) else ""
    except ValueError:
        return ""


def is_of(found: object, password: str) -> bool:
    """Whether the Secret `found` (the API's JSON) has the hash of this password; False for other objects."""
    return matches(password, hash_of(found))


def hashed(password: str) -> str:
    """A hash of this password, with a random salt."""
    salt = secrets.token_bytes(_SALT_BYTES)
    key = base64.b64encode(_key(password, salt)).decode().rstrip("=")
    return f"$1:{salt.hex()}:{_PARAMETERS}:{key}"


def matches(password: str, text: str) -> bool:
    """Whether `text` is a hash of this password; False if it has another format.

    Other scrypt parameters are not accepted: they would decide how much memory a request takes.
    """
    version, _, rest = text.partition(":")
    salt, _, rest = rest.partition(":")
    parameters, _, encoded = rest.rpartition(":")
    if version != "$1" or parameters != _PARAMETERS:
        return False
    try:
        raw_salt = bytes.fromhex(salt)
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(_key(password, raw_salt), key)


def _key(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << _LOG_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_KEY_BYTES
    )
