"""What single values of the keys of snapshots may look like (etcd-snapshot-*, etcd-s3-*).

As in grammar, ValueError says in words that follow "must be" what a value has to be.
"""

import base64
import re

from rke2_units.config import grammar

# The value of etcd-s3-proxy that turns off the environment's proxy, too.
NO_PROXY = "none"

# The node's name, the time and .zip follow, and a file's name has at most 255 characters.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
# Not only the names of Amazon's new buckets.
_BUCKET = r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}"
# What boto3 accepts.
_REGION = r"(?![0-9]+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# Each unit has its own.
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - to refuse them


def name(text: str) -> str:
    """The beginning of the file names of scheduled snapshots."""
    if not re.fullmatch(_NAME, text, re.ASCII):
        raise ValueError("at most 128 letters, digits, '.', '_' and '-', with a letter or digit first")
    return text


def directory(text: str) -> str:
    """The folder of snapshots."""
    path = grammar.directory(text)
    if f"{path}/".startswith((*grammar.VIRTUAL_FILE_SYSTEMS, *_TEMPORARY)):
        raise ValueError("a folder whose files are kept when the machine restarts")
    return path


def endpoint(text: str) -> str:
    if "://" in text:
        raise ValueError(
            "HOST or HOST:PORT, without http:// or https:// (etcd-s3-insecure: true means http)"
        )
    try:
        return grammar.host_and_port(text)
    except ValueError:
        raise ValueError("HOST or HOST:PORT, such as s3.example.com:9000") from None


def authorities(text: str) -> tuple[str, ...]:
    """Certificate authorities: paths of PEM files, or PEM in base64."""
    words = tuple(text.split())
    if not words or not all(word.startswith("/") or _is_pem_in_base64(word) for word in words):
        raise ValueError("absolute paths of PEM files, or PEM in base64, separated by blanks")
    return words


def _is_pem_in_base64(text: str) -> bool:
    try:
        return b"-----BEGIN " in base64.b64decode(text, validate=True)
    except ValueError:
        return False


def bucket(text: str) -> str:
    if not re.fullmatch(_BUCKET, text, re.ASCII):
        raise ValueError("a bucket's name: letters, digits, '.', '_' and '-'")
    return text


def region(text: str) -> str:
    if not re.fullmatch(_REGION, text, re.ASCII):
        raise ValueError("a region such as us-east-1: letters, digits and '-'")
    return text


def time_limit(text: str) -> float:
    """Seconds."""
    seconds = grammar.interval(text)
    if seconds > 86400:
        raise ValueError("a duration of at most 24h")
    return seconds


def folder(text: str) -> str:
    """The beginning of the objects' keys."""
    if any(part in (".", "..") for part in text.split("/")):
        raise ValueError("a folder without . and ..")
    return text


def proxy(text: str) -> str:
    """A URL, or NO_PROXY."""
    if text == NO_PROXY:
        return text
    scheme, separator, rest = text.removesuffix("/").partition("://")
    try:
        if scheme not in ("http", "https") or not separator:
            raise ValueError
        # A password may have an @ itself.
        grammar.host_and_port(rest.rpartition("@")[2])
    except ValueError:
        raise ValueError(
            f"a URL with scheme and host, such as http://proxy.example:3128, or {NO_PROXY}"
        ) from None
    return text
