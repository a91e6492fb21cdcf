"""Finds the blocks of PEM texts, without decoding them."""

import re

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\s.*?-----END \1-----", re.DOTALL)


def certificates(text: str) -> list[str]:
    """The certificate blocks in their order, each with a final newline."""
    return [f"{match.group()}\n" for match in _CERTIFICATE.finditer(text)]


def first_private_key(text: str) -> str | None:
    """The first private key block with a final newline, None when there is none."""
    match = _PRIVATE_KEY.search(text)
    return f"{match.group()}\n" if match else None
