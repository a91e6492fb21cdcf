"""Bootstrap tokens: Secrets of kube-system in kubeadm's form, which agents join with until they expire."""

import base64
import binascii
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from rke2_units.cluster_names import (
    BOOTSTRAP_TOKEN,
    BOOTSTRAP_TOKEN_ID,
    BOOTSTRAP_TOKEN_SECRET,
    BOOTSTRAP_TOKEN_TYPE,
)
from rke2_units.doors.kubernetes import ApiError, Client, Object, path_to
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.printable import line

USAGES = ("signing", "authentication")
# Kubernetes takes no other groups in a token (k8s.io/cluster-bootstrap).
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
_SECRETS = "/api/v1/namespaces/kube-system/secrets"
_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class BootstrapToken:
    """What may be told of a token. `expires` has a time zone; None: never."""

    identifier: str
    expires: datetime | None
    usages: tuple[str, ...]
    groups: tuple[str, ...]
    description: str = ""


def generate() -> str:
    """A new token in its short form, `abcdef.0123456789abcdef`."""
    return f"{_random(6)}.{_random(16)}"


def create(
    client: Client,
    token: str,
    now: datetime,
    *,
    lifetime: timedelta,
    usages: Sequence[str],
    groups: Sequence[str],
    description: str = "",
) -> None:
    """Makes the token valid for agents. A `lifetime` of zero is one without an end."""
    found = re.fullmatch(BOOTSTRAP_TOKEN, token)
    if found is None:
        raise ConfigurationError("the token does not have the form abcdef.0123456789abcdef")
    identifier, secret = found.groups()
    content = {
        "token-id": identifier,
        "token-secret": secret,
        "auth-extra-groups": ",".join(_checked_groups(groups)),
        "description": description,
        "expiration": _text(now + lifetime) if lifetime else "",
        **{f"usage-bootstrap-{usage}": "true" for usage in usages},
    }
    obj = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{BOOTSTRAP_TOKEN_SECRET}{identifier}", "namespace": "kube-system"},
        "type": BOOTSTRAP_TOKEN_TYPE,
        "stringData": {key: text for key, text in content.items() if text},
    }
    try:
        client.create(_SECRETS, obj)
    except ApiError as error:
        if error.reason == "AlreadyExists":
            raise UserError(
                f"there is a bootstrap token {identifier} already",
                hint=f"rke2-units token delete {identifier}",
            ) from None
        raise


def listed(client: Client) -> list[BootstrapToken]:
    """All bootstrap tokens, by identifier; also expired ones that are not deleted yet."""
    found = client.list(f"{_SECRETS}?fieldSelector={quote(f'type={BOOTSTRAP_TOKEN_TYPE}', safe='')}")
    return sorted((_token_of(obj) for obj in found), key=lambda token: token.identifier)


def delete(client: Client, identifier: str) -> None:
    """Deletes a token. Nodes that joined with it are not affected. UserError when it does not exist."""
    try:
        client.delete(path_to(_SECRETS, f"{BOOTSTRAP_TOKEN_SECRET}{checked_identifier(identifier)}"))
    except ApiError as error:
        if error.status == 404:
            raise UserError(
                f"there is no bootstrap token {identifier}", hint="rke2-units token list shows all of them"
            ) from None
        raise


def checked_identifier(text: str) -> str:
    """The text if it is an identifier, else UserError, which does not repeat the text: it may be a token."""
    if not re.fullmatch(BOOTSTRAP_TOKEN_ID, text):
        raise UserError(
            "give the identifier of a bootstrap token: the six characters before the dot",
            hint="rke2-units token list shows all of them",
        )
    return text


def _checked_groups(groups: Sequence[str]) -> Sequence[str]:
    for group in groups:
        if not _GROUP.fullmatch(group):
            raise ConfigurationError(
                f"{group!r} is not a valid group for a bootstrap token",
                hint="use system:bootstrappers: followed by a-z, 0-9, - and :",
            )
    return groups


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _token_of(obj: Object) -> BootstrapToken:
    data = obj.get("data") or {}

    def said(key: str) -> str:
        try:
            return base64.b64decode(data.get(key) or "", validate=True).decode(errors="replace")
        except (binascii.Error, ValueError):
            return ""

    groups = said("auth-extra-groups")
    return BootstrapToken(
        identifier=obj["metadata"]["name"].removeprefix(BOOTSTRAP_TOKEN_SECRET),
        expires=_moment(said("expiration")),
        usages=tuple(usage for usage in USAGES if said(f"usage-bootstrap-{usage}") == "true"),
        groups=tuple(line(group) for group in groups.split(",")) if groups else (),
        description=line(said("description")),
    )


def _moment(text: str) -> datetime | None:
    """Kubernetes treats a token with an unreadable expiration as expired."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
