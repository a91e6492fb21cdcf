"""rke2-units token: bootstrap tokens, and rotation of the server token."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from rke2_units import layout
from rke2_units.certificates import token as tokens
from rke2_units.cli import token_file
from rke2_units.cli.planning import choose
from rke2_units.cluster import bootstrap_tokens, kubernetes_api, token_rotation
from rke2_units.cluster.bootstrap_tokens import BootstrapToken
from rke2_units.config import grammar
from rke2_units.controllers import settings as controllers_settings
from rke2_units.doors import files
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import Paths
from rke2_units.lean.etcd import Etcd
from rke2_units.node import installation
from rke2_units.unit_names import Role

# Seconds that the API may take for an answer.
_PATIENCE = 10.0
_COLUMNS = ("ID", "EXPIRES", "USAGES", "GROUPS", "DESCRIPTION")


def create(
    lifetime: str, usages: Sequence[str], groups: Sequence[str], description: str, source: str | None
) -> None:
    """Creates a bootstrap token and prints it in the form that contains the hash of the cluster's CA.

    `source`: a file with the token in its short form, "-" for standard input; None: a random token.
    """
    paths = _server()
    authority = files.read_bytes(f"{paths.tls}/server-ca.crt")
    if authority is None:
        raise UserError(f"there is no {paths.tls}/server-ca.crt", hint="systemctl start rke2-server")
    token = token_file.read(source) if source else bootstrap_tokens.generate()
    wanted = [usage for text in usages for usage in text.split(",")]
    wrong = [usage for usage in wanted if usage not in bootstrap_tokens.USAGES]
    if wrong:
        known = ", ".join(bootstrap_tokens.USAGES)
        raise UserError(f"unknown usage of a bootstrap token: {', '.join(wrong)}", hint=f"use {known}")
    with _admin(paths) as client:
        bootstrap_tokens.create(
            client,
            token,
            datetime.now(UTC),
            lifetime=_lifetime(lifetime),
            usages=wanted,
            groups=[group for text in groups for group in text.split(",")],
            description=description,
        )
    click.echo(tokens.Token(tokens.authority_hash(authority), bootstrap=token).text())


def show_all(*, as_json: bool) -> None:
    """Prints the bootstrap tokens without their secret part."""
    with _admin(_server()) as client:
        found = bootstrap_tokens.listed(client)
    click.echo(_json(found) if as_json else _table(found, datetime.now(UTC)))


def delete(identifiers: Sequence[str]) -> None:
    for identifier in identifiers:
        bootstrap_tokens.checked_identifier(identifier)
    with _admin(_server()) as client:
        for identifier in identifiers:
            bootstrap_tokens.delete(client, identifier)
            click.echo(f"{identifier} is deleted")


def rotate(source: str | None) -> None:
    """Replaces the cluster's server token, and prints what is left to do by hand. `source`: as above."""
    paths = _server()
    config = choose(Role.SERVER, None).config
    rotation = token_rotation.begin(paths, token_file.read(source, "--new-token-file") if source else "")
    if rotation is None:
        click.echo("this server has that token already; nothing was changed")
        return
    # The one heavy import here is needed on real nodes only.
    from rke2_units.doors.dbus import Systemd

    # install made this file, so it is updated here; the administrator updates others.
    copies = [layout.TOKEN_FILE] if config.text("token-file") == layout.TOKEN_FILE else []
    with Systemd() as systemd:
        token_rotation.complete(
            paths, rotation, datetime.now(UTC), etcd=_etcd(paths), systemd=systemd, copies=copies
        )
    click.echo(f"{paths.token} has the new token")
    configured = tokens.parse(config.text("token")).password if config.is_set("token") else ""
    if configured not in ("", rotation.password) and not copies:
        click.echo(
            f"warning: {config.source('token')} has the old token: rke2-server will not start with it",
            err=True,
        )
    click.echo(
        "on each other server, run: rke2-units token rotate --new-token-file FILE (FILE: the new token);\n"
        "new agents need the new token; agents that already joined are not affected"
    )


def _server() -> Paths:
    """The paths of this server; ConfigurationError on another node, UserError for another user than root."""
    installed = installation.read()
    if installed is None or installed.role is not Role.SERVER:
        raise ConfigurationError(
            "this machine is not a server of a cluster", hint="run the command on a server"
        )
    if os.geteuid() != 0:
        raise UserError("managing tokens requires root", hint="run it with sudo")
    return Paths(installed.data_directory)


@contextmanager
def _admin(paths: Paths) -> Iterator[Client]:
    client = kubernetes_api.client(paths.admin_kubeconfig, _PATIENCE)
    if client is None:
        raise UserError("this server has never been started", hint="systemctl start rke2-server")
    try:
        yield client
    finally:
        client.close()


def _lifetime(text: str) -> timedelta:
    try:
        return timedelta(seconds=grammar.duration(text))
    except (ValueError, OverflowError):
        raise UserError(f"invalid --ttl {text!r} (examples: 24h, 90m, or 0 for no expiry)") from None


def _json(found: Sequence[BootstrapToken]) -> str:
    rows = [
        {
            "id": token.identifier,
            "expires": token.expires.isoformat() if token.expires else None,
            "usages": token.usages,
            "groups": token.groups,
            "description": token.description,
        }
        for token in found
    ]
    return json.dumps(rows, indent=2)


def _table(found: Sequence[BootstrapToken], now: datetime) -> str:
    rows = [_COLUMNS, *(_row(token, now) for token in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _row(token: BootstrapToken, now: datetime) -> tuple[str, ...]:
    if token.expires is None:
        expires = "never"
    elif token.expires <= now:
        expires = "expired"
    else:
        expires = token.expires.strftime("%Y-%m-%d %H:%M:%S UTC")
    return token.identifier, expires, ",".join(token.usages), ",".join(token.groups), token.description


def _etcd(paths: Paths) -> Etcd | None:
    """This server's etcd; None before its first start, which writes the settings that name it."""
    if not os.path.exists(paths.controllers_settings):
        return None
    return controllers_settings.read(paths.controllers_settings).etcd()
