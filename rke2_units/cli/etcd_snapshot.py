"""rke2-units etcd-snapshot: what its commands do, with RKE2's messages."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import click

from rke2_units import layout
from rke2_units.certificates.token import Token
from rke2_units.cli import (
    snapshot_list,
    snapshot_request,
    snapshot_server,
    snapshot_verification,
    token_file,
)
from rke2_units.cli.progress import Progress
from rke2_units.cli.snapshot_server import SnapshotServer
from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.config.keys import KEYS
from rke2_units.config.load import load
from rke2_units.errors import UserError
from rke2_units.join import validate
from rke2_units.node.environment import command_environment
from rke2_units.printable import visible
from rke2_units.snapshots import names
from rke2_units.unit_names import Role

_S3 = "etcd-s3"


@dataclass(frozen=True)
class Given:
    """What the command line says, "" for what it does not. `keys` are those of config.yaml."""

    keys: Mapping[str, str] = field(repr=False)
    config_file: str = ""
    server: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    name: str = ""

    def config(self) -> Config:
        """The configuration: the command line over files over the environment."""
        # Of this process also the variables of others that RKE2 takes for keys.
        own = {key.environment: os.environ.get(key.environment, "") for key in KEYS if key.environment}
        environment = {
            **command_environment(Role.SERVER, dict(os.environ)),
            **{name: value for name, value in own.items() if value},
        }
        return load(
            Role.SERVER,
            config_file=self.config_file or None,
            environment=environment,
            arguments=list(self.keys.items()),
        )


def save(given: Given) -> int:
    """Has the server save a snapshot; 1 if it saved none and did not say why."""
    answer = _ask(given, "save", "saving a snapshot", [given.name or names.ON_DEMAND])
    saved = snapshot_server.names(answer, "created")
    _tell(saved, "saved")
    if not saved:
        # A learner of etcd cannot be saved, and that is no error of the server.
        click.echo("no snapshot was saved: the log of that server says why", err=True)
    return 0 if saved else 1


def show_all(given: Given, output: str) -> None:
    """Prints the snapshots that the server has, and those in S3 if that is on."""
    output = snapshot_list.check_format(output)
    click.echo(snapshot_list.text(_ask(given, "list", "listing snapshots", ()), output))


def delete(given: Given, snapshots: Sequence[str]) -> None:
    """Has the server delete snapshots of these names."""
    if not snapshots:
        raise UserError(
            "no snapshots given for removal", hint="rke2-units etcd-snapshot ls shows their names"
        )
    deleted = snapshot_server.names(_ask(given, "delete", "deleting snapshots", snapshots), "deleted")
    _tell(deleted, "deleted")
    for name in snapshots:
        if name not in deleted:
            click.echo(f"warning: Snapshot {visible(name)} not found.", err=True)


def prune(given: Given) -> None:
    """Has the server delete the oldest snapshots of a base name."""
    answer = _ask(given, "prune", "pruning snapshots", [given.name or names.ON_DEMAND])
    _tell(snapshot_server.names(answer, "deleted"), "deleted")


def restore(given: Given, snapshot: str, *, assume_yes: bool) -> int:
    """Resets the cluster of this stopped server to the snapshot; returns the exit status."""
    s3_alone = {key: value for key, value in given.keys.items() if key == _S3}
    if given != Given(s3_alone, token_file=given.token_file):
        raise UserError(
            "restore takes --s3 and --etcd-token-file alone of these options",
            hint="it reads everything else from config.yaml",
        )
    try:
        s3 = grammar.boolean(given.keys[_S3]) if _S3 in given.keys else None
    except ValueError as error:
        raise UserError(f"--s3 must be {error}") from None
    from rke2_units.cli.cluster_reset import run

    return run(snapshot, s3, given.token_file or None, yes=assume_yes)


def verify(given: Given, snapshot: str, *, newest: bool) -> int:
    """Verifies a snapshot of this node and prints the result; 1 if it cannot be restored."""
    if bool(snapshot) is newest:
        raise UserError(
            "verify takes either a snapshot or --latest",
            hint="rke2-units etcd-snapshot ls shows their names",
        )
    if os.geteuid() != 0:
        raise UserError("verifying a snapshot requires root", hint="run it with sudo")
    name = _local_name(snapshot, given.config()) if snapshot else ""
    with Progress("verifying a snapshot") as progress:
        verified = snapshot_verification.verify(name, progress.report)
    click.echo(snapshot_verification.table(verified))
    return 0 if verified.get("ok") is True else 1


def _local_name(snapshot: str, config: Config) -> str:
    """The name of this snapshot in the node's folder; UserError for a file that lies elsewhere."""
    folder, name = os.path.split(snapshot)
    own = derived.snapshot_directory(config)
    if folder and os.path.realpath(folder) != os.path.realpath(own):
        raise UserError(
            f"{snapshot} is not in this node's folder of snapshots, {own}", hint="copy it there first"
        )
    return name


def _ask(given: Given, operation: str, doing: str, of: Sequence[str]) -> dict[str, object]:
    config = given.config()
    request = snapshot_request.make(operation, config, of)
    server = SnapshotServer(
        _url(given, config),
        _token(given, config),
        config.seconds("etcd-s3-timeout") if "s3" in request else 0.0,
    )
    with Progress(doing):
        return server.ask(request)


def _url(given: Given, config: Config) -> str:
    if given.server:
        return snapshot_server.check_url(given.server)
    return snapshot_server.local(config.text("bind-address"))


def _token(given: Given, config: Config) -> Token:
    """The token of servers. A warning says if it cannot identify the cluster."""
    if given.token and given.token_file:
        raise UserError("--etcd-token and --etcd-token-file exclude each other")
    if given.token:
        text, source = given.token, "--etcd-token"
    else:
        source = given.token_file or derived.paths(config).token
        try:
            text = token_file.read(source, "--etcd-token-file" if given.token_file else "the token file")
        except UserError as error:
            raise UserError(
                error.message,
                hint="run it as root on a server, or give --etcd-token-file and --etcd-server",
            ) from None
    required = config.boolean("token-require-ca-pin")
    token = validate.parse(text, source, user="server", pin_required=required)
    if warning := validate.unverified(token, source):
        click.echo(f"warning: {warning}", err=True)
    return token


def _tell(snapshots: Sequence[str], done: str) -> None:
    for name in snapshots:
        click.echo(f"Snapshot {visible(name)} {done}.")


def local_names(incomplete: str) -> list[str]:
    """The snapshots in the default folder that begin so, for completion on the command line."""
    try:
        found = os.listdir(layout.Paths().snapshots)
    except OSError:
        return []
    return sorted(name for name in found if name.startswith(incomplete) and not name.endswith(names.PART))
