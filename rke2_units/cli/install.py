"""rke2-units install: checks, plan, files, systemd."""

import os
from collections.abc import Sequence
from dataclasses import replace

import click

from rke2_units.cli import join_options
from rke2_units.cli.planning import Chosen, make_plan_here, refuse_other_role
from rke2_units.cli.releases import fetch_release
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import required
from rke2_units.node import checks, data_directory, releases
from rke2_units.node.apply import Change, Kind, apply, changes, set_kernel_parameters
from rke2_units.node.checks import Severity
from rke2_units.node.diff import unified
from rke2_units.node.installation import read as read_installation
from rke2_units.node.releases import Fetched
from rke2_units.plan.node import Node
from rke2_units.release.model import Release
from rke2_units.release.table import RELEASES
from rke2_units.unit_names import Role


def install(
    role: Role,
    release: str | None,
    image_lists: Sequence[str],
    *,
    dry_run: bool,
    server: str | None = None,
    token_file: str | None = None,
) -> int:
    """Makes this machine a node of the role, without starting it; returns the exit status.

    `server` and `token_file` ("-": standard input) are the cluster to join, where they are given.
    """
    refuse_other_role(role)
    join_options.refuse_lost(role, os.environ)
    given = join_options.read(server, token_file, os.environ)
    fetched: list[Fetched] = []

    def find(chosen: Chosen) -> Release:
        required.check(chosen.config)
        return _release(chosen, image_lists, fetched)

    planned = make_plan_here(role, release, find=find, arguments=given.arguments)
    to_keep = join_options.to_keep(role, given, os.environ)
    plan, installation = planned.plan, planned.installation
    data_directory.refuse_others(installation.data_directory)
    for warning in planned.warnings:
        click.echo(f"warning: {warning}", err=True)
    failed = _check(planned.node)
    if dry_run:
        everything = replace(plan, files=(*to_keep, *plan.files))
        click.echo(unified(changes(everything, installation=installation)), nl=False)
        return 1 if failed else 0
    if failed:
        raise UserError(
            f"this machine cannot be a node yet: {failed} of the checks above failed",
            hint="nothing was changed",
        )
    before = read_installation()
    for each in fetched:
        releases.keep(each)
    kept = join_options.keep(to_keep)
    changed = apply(plan, installation=installation)
    for problem in set_kernel_parameters(plan):
        click.echo(f"warning: {problem}", err=True)
    _enable(plan.enabled)
    click.echo(_summary(len(kept), changed))
    click.echo(_what_next(before.release if before else None, installation.release, plan.enabled))
    return 0


def _release(chosen: Chosen, image_lists: Sequence[str], fetched: list[Fetched]) -> Release:
    """The release to install; an unknown release is fetched, and appended to `fetched` to be stored."""
    name, configured = chosen.release, chosen.config.text("release")
    if configured and name != configured:
        raise ConfigurationError(
            f"--release {name}, but {chosen.config.source('release')} says release: {configured}",
            hint="the next start would use that release; change or remove it there",
        )
    if image_lists:
        fetched.append(releases.of_files(name, image_lists))
    elif name not in RELEASES and releases.read(name) is None:
        fetched.append(fetch_release(chosen))
    return fetched[0].release if fetched else releases.find(name)


def _what_next(before: str | None, release: str, unit: str) -> str:
    unit = unit.removesuffix(".service")
    if before in (None, release):
        return f"{release} is installed, {unit}.service enabled; start it: systemctl start {unit}"
    return f"{release} is installed in place of {before}; to run it: systemctl restart {unit}"


def _check(node: Node) -> int:
    """Prints what the checks of this machine find; returns the number of errors."""
    found = checks.failures(node)
    if found:
        click.echo(checks.table(found), err=True)
    return sum(finding.severity is Severity.ERROR for finding in found)


def _enable(unit: str) -> None:
    # The one heavy import here is needed on real nodes only.
    from rke2_units.doors.dbus import Systemd

    with Systemd() as systemd:
        # Even if no file has changed: an earlier install may have been killed after it wrote them.
        systemd.reload()
        systemd.enable(unit)


def _summary(kept: int, changed: list[Change]) -> str:
    """`kept`: the number of files (token and join URL) that are not part of the plan."""
    if not kept and not changed:
        return "nothing had to be changed"
    removed = sum(change.kind is Kind.REMOVE for change in changed)
    return f"{kept + len(changed) - removed} files and folders written, {removed} removed"
