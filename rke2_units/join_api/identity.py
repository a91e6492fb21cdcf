"""Authenticates callers: a client certificate, password or bootstrap token yields name and groups. Pure."""

import base64
import binascii
import csv
import hashlib
import hmac
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rke2_units.cluster_names import BOOTSTRAP_TOKEN, BOOTSTRAP_TOKEN_TYPE

AGENT = "rke2:agent"
SERVER = "rke2:server"
NODES = "system:nodes"
MASTERS = "system:masters"
BOOTSTRAPPERS = "system:bootstrappers"
AUTHENTICATED = "system:authenticated"

AGENT_GROUPS = frozenset({AGENT, SERVER, NODES, BOOTSTRAPPERS})
SERVER_GROUPS = frozenset({SERVER})
# The client CA also signs requests that the cluster's administrators approve: another organization in such a
# certificate must not become a group here.
_CERTIFICATE_GROUPS = frozenset({NODES, MASTERS})
_NODE_PREFIX = "system:node:"


@dataclass(frozen=True)
class Caller:
    """An authenticated caller. `node`: the node in a kubelet's certificate, "" for other credentials."""

    name: str
    groups: frozenset[str] = frozenset()
    node: str = ""


@dataclass(frozen=True)
class Authorization:
    """The Authorization header: user and password, or a bootstrap token's two parts; other fields are ""."""

    user: str = ""
    password: str = field(default="", repr=False)
    token_id: str = ""
    token_secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class PasswordRow:
    """A line of passwd: user, groups, and the SHA-256 of user and password."""

    user: str
    groups: frozenset[str]
    digest: bytes = field(repr=False)


def of_certificate(certificate: Mapping[str, Any] | None) -> Caller | None:
    """The caller with this verified certificate (ssl's getpeercert); None without one."""
    whole = subject(certificate)
    if whole is None:
        return None
    name, groups = whole.name, whole.groups & _CERTIFICATE_GROUPS
    node = name.removeprefix(_NODE_PREFIX) if NODES in groups and name.startswith(_NODE_PREFIX) else ""
    if not node:
        groups -= {NODES}
    return Caller(name, groups, node)


def subject(certificate: Mapping[str, Any] | None) -> Caller | None:
    """The caller with a verified certificate and all its groups, as for kube-apiserver; None without one."""
    if not certificate:
        return None
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in pairs if key == "commonName"]
    groups = frozenset(value for key, value in pairs if key == "organizationName")
    return Caller(names[0] if len(names) == 1 else "", groups)


def bearer(header: str) -> str:
    """The token in an Authorization header's value, "" without one."""
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def authorization(header: str) -> Authorization | None:
    """The parsed value of the header; None if it is neither of the two kinds."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        found = re.fullmatch(BOOTSTRAP_TOKEN, value)
        return Authorization(token_id=found[1], token_secret=found[2]) if found else None
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, separator, password = decoded.partition(":")
    return Authorization(user, password) if user and separator and password else None


def password_rows(passwd: str) -> tuple[PasswordRow, ...]:
    """The lines of RKE2's passwd (password, user, user ID, groups), without those that lack one of them."""
    return tuple(
        PasswordRow(row[1], frozenset(filter(None, row[3].split(","))), _digest(row[1], row[0]))
        for row in csv.reader(io.StringIO(passwd))
        if len(row) >= 4 and row[0] and row[1] and ":" not in row[1]
    )


def of_password(rows: Iterable[PasswordRow], user: str, password: str) -> Caller | None:
    """The caller with this password, None for a wrong one. Always compares every row, in constant time."""
    digest = _digest(user, password)
    fitting = [row for row in rows if hmac.compare_digest(digest, row.digest)]
    return Caller(user, frozenset().union(*(row.groups for row in fitting))) if fitting else None


def of_bootstrap_token(
    secret: Mapping[str, Any], token_id: str, token_secret: str, now: datetime
) -> Caller | str:
    """The caller with a token, from its Secret (kubeadm's format), or the reason why it is rejected."""
    data = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
    if secret.get("type") != BOOTSTRAP_TOKEN_TYPE or data.get("token-id") != token_id:
        return "there is no such bootstrap token"
    if not hmac.compare_digest(data.get("token-secret", "").encode(), token_secret.encode()):
        return "wrong secret part of its bootstrap token"
    if (secret.get("metadata") or {}).get("deletionTimestamp"):
        return "its bootstrap token is being deleted"
    if "expiration" in data and not _is_ahead(data["expiration"], now):
        return "its bootstrap token has expired"
    if data.get("usage-bootstrap-authentication") != "true":
        return "its bootstrap token is not enabled for authentication"
    extra = {group for group in data.get("auth-extra-groups", "").split(",") if group}
    if not all(group.startswith(f"{BOOTSTRAPPERS}:") for group in extra):
        return f"its bootstrap token names groups that do not begin with {BOOTSTRAPPERS}:"
    return Caller(f"system:bootstrap:{token_id}", frozenset({BOOTSTRAPPERS, AUTHENTICATED, *extra}))


def _digest(user: str, password: str) -> bytes:
    # Unambiguous: a user name contains no colon.
    return hashlib.sha256(f"{user}:{password}".encode()).digest()


def _decoded(value: object) -> str:
    try:
        return base64.b64decode(value, validate=True).decode() if isinstance(value, str) else ""
    except ValueError:
        return ""


def _is_ahead(text: str, now: datetime) -> bool:
    """Whether this time (RFC 3339) is in the future; False if it cannot be parsed."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    return moment.tzinfo is not None and moment.astimezone(UTC) > now
