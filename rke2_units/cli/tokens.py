"""rke2-units token: bootstrap tokens, and another token for the cluster."""

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
    """Makes a bootstrap token, and prints it in the form that names the cluster's authority.

    `source`: a file that has it in its short form, "-" for standard input; None: a random one.
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
        raise UserError(f"no usage of a bootstrap token: {', '.join(wrong)}", hint=f"there are {known}")
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
    """Prints what may be told of the bootstrap tokens: not the part that is secret."""
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
    """Gives the cluster another server token; what it does not reach is told. `source`: as above."""
    paths = _server()
    config = choose(Role.SERVER, None).config
    rotation = token_rotation.begin(paths, token_file.read(source, "--new-token-file") if source else "")
    if rotation is None:
        click.echo("this server has that token already; nothing was changed")
        return
    # The one heavy import here is needed on real nodes only.
    from rke2_units.doors.dbus import Systemd

    # The file that install made is ours to keep up to date; others are the administrator's.
    copies = [layout.TOKEN_FILE] if config.text("token-file") == layout.TOKEN_FILE else []
    with Systemd() as systemd:
        token_rotation.complete(
            paths, rotation, datetime.now(UTC), etcd=_etcd(paths), systemd=systemd, copies=copies
        )
    click.echo(f"{paths.token} has the new token")
    configured = tokens.parse(config.text("token")).password if config.is_set("token") else ""
    if configured not in ("", rotation.password) and not copies:
        click.echo(
            f"warning: {config.source('token')} has the old one: rke2-server will not start with it",
            err=True,
        )
    click.echo(
        "on each other server: rke2-units token rotate --new-token-file FILE, with the new token in FILE;\n"
        "agents that join from now on need it; those that have joined keep going without it"
    )


def _server() -> Paths:
    """The paths of the server that this node is; errors for another node, and for who may not read them."""
    installed = installation.read()
    if installed is None or installed.role is not Role.SERVER:
        raise ConfigurationError(
            "this machine is not a server of a cluster", hint="the command is for one of its servers"
        )
    if os.geteuid() != 0:
        raise UserError("tokens are root's", hint="run it with sudo")
    return Paths(installed.data_directory)


@contextmanager
def _admin(paths: Paths) -> Iterator[Client]:
    client = kubernetes_api.client(paths.admin_kubeconfig, _PATIENCE)
    if client is None:
        raise UserError("this server was never started", hint="systemctl start rke2-server")
    try:
        yield client
    finally:
        client.close()


def _lifetime(text: str) -> timedelta:
    try:
        return timedelta(seconds=grammar.duration(text))
    except (ValueError, OverflowError):
        raise UserError(f"{text!r} is no time to live", hint="it is like 24h, 90m or 0 (for ever)") from None


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
    """This server's etcd; None before its first start, which writes what the controllers have to know."""
    if not os.path.exists(paths.controllers_settings):
        return None
    return controllers_settings.read(paths.controllers_settings).etcd()
