"""Remembers correct node passwords: a hash takes 100 ms, and a node sends its password twice."""

import hashlib
import hmac
import secrets
from collections import OrderedDict

from rke2_units.certificates import node_passwords

_MOST = 1024


class KnownPasswords:
    """Remembers which password belongs to which hash in a Secret, but neither of them in plain."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def add(self, secret: object, password: str) -> None:
        """Remembers that this password belongs to the hash in the Secret."""
        self._known[self._digest(secret, password)] = None
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def has(self, secret: object, password: str) -> bool:
        return self._digest(secret, password) in self._known

    def _digest(self, secret: object, password: str) -> bytes:
        text = f"{node_passwords.hash_of(secret)}\0{password}"
        return hmac.digest(self._key, text.encode(), hashlib.sha256)
