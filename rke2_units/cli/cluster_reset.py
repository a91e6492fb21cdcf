"""rke2-units cluster-reset: shows what it will do, asks, does it, and says what to type next."""

import json
import os
import sys
import time

import click

from rke2_units.cli import token_file
from rke2_units.cli.planning import Planned, choose, make_plan_here, refuse_other_role, take_proxies
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.json_table import Table
from rke2_units.node import installation
from rke2_units.node.cluster_reset import request as requests
from rke2_units.node.cluster_reset import what_next
from rke2_units.node.cluster_reset.reset import Reset, refuse_running
from rke2_units.snapshots import s3_config
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.unit_names import Role


def run(snapshot: str, s3: bool | None, token_from: str | None, *, yes: bool) -> int:
    """Resets this server's cluster; returns the exit status. `s3` is None where config.yaml decides."""
    if os.geteuid() != 0:
        raise UserError("cluster-reset requires root", hint="run it as root")
    refuse_other_role(Role.SERVER)
    if installation.read() is None:
        raise ConfigurationError(
            "rke2-units is not installed here", hint="run: rke2-units install --role server"
        )
    token = token_file.read(token_from) if token_from else ""
    arguments = () if s3 is None else (("etcd-s3", str(s3).lower()),)
    chosen = choose(Role.SERVER, None, arguments=arguments)
    is_in_s3 = chosen.config.boolean("etcd-s3")
    # What is refused for the configuration is refused before a plan is made of it.
    requests.make(chosen.config, snapshot, token, S3Config(bucket="?") if is_in_s3 else None)
    take_proxies(chosen.environment)
    planned = make_plan_here(Role.SERVER, None, arguments=arguments)
    request = requests.make(planned.node.config, snapshot, token, _s3(planned) if is_in_s3 else None)
    refuse_running()
    reset = Reset(planned.node, request, int(time.time()))
    if reset.begun:
        click.echo("A cluster-reset was interrupted; this completes it.")
    elif not _confirmed(planned, reset, request, yes=yes):
        return 1
    for line in reset.steps():
        click.echo(line)
    for line in what_next.after(planned.node, reset.places):
        click.echo(line)
    return 0


def _s3(planned: Planned) -> S3Config | None:
    """How the plan writes it for this node's programs."""
    text = planned.plan.file(planned.node.paths.snapshot_settings).content
    return s3_config.of_settings(Table("etcd-s3", json.loads(text)).table("s3"))


def _confirmed(planned: Planned, reset: Reset, request: requests.Request, *, yes: bool) -> bool:
    click.echo("This will:")
    for line in what_next.announcement(planned.node.paths, reset.places, request):
        click.echo(f"  {line}")
    if yes:
        return True
    if not sys.stdin.isatty():
        click.echo("nothing was changed: use --yes to do it")
        return False
    try:
        confirmed = click.confirm("Continue?")
    except click.Abort:
        click.echo()
        raise UserError("nothing was changed: there was no answer", hint="use --yes to confirm") from None
    if not confirmed:
        click.echo("nothing was changed")
    return confirmed
