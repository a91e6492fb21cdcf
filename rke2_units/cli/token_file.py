"""Reads a token from the file that an option names: a token is never an argument itself."""

import sys
from codecs import BOM_UTF8

from rke2_units.errors import UserError

_LARGEST = 4096


def read(path: str, option: str = "--token-file") -> str:
    """The token in this file, "-" for standard input, without white space and byte order mark around it.

    UserError, which names `option`, for a file that cannot be read or is no token.
    """
    if path == "-":
        content = sys.stdin.buffer.read(_LARGEST + 1)
    else:
        try:
            with open(path, "rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise UserError(f"{option} {path} cannot be read: {error.strerror}") from None
    try:
        text = content.removeprefix(BOM_UTF8).decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(content) > _LARGEST or not text.isprintable():
        raise UserError(f"{option} {path} does not hold a token: one line of ASCII text")
    return text
