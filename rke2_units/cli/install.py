"""rke2-units install: checks, plan, files, systemd."""

import click

from rke2_units.cli.planning import make_plan_here, refuse_other_role
from rke2_units.errors import UserError
from rke2_units.names import Paths, Role
from rke2_units.node import checks
from rke2_units.node.apply import Change, Kind, apply, changes, set_kernel_parameters
from rke2_units.node.checks import Severity
from rke2_units.node.diff import unified


def install(role: Role, release: str | None, *, dry_run: bool) -> int:
    """Makes this machine a node of the role, not yet started; returns the exit status."""
    refuse_other_role(role)
    prepared = make_plan_here(role, release)
    plan, installation = prepared.plan, prepared.installation
    for warning in prepared.warnings:
        click.echo(f"warning: {warning}", err=True)
    failed = _check(role, installation.data_directory)
    if dry_run:
        click.echo(unified(changes(plan, installation=installation)), nl=False)
        return 1 if failed else 0
    if failed:
        raise UserError(
            f"this machine cannot be a node yet: {failed} of the checks above failed",
            hint="nothing was changed",
        )
    changed = apply(plan, installation=installation)
    for problem in set_kernel_parameters(plan):
        click.echo(f"warning: {problem}", err=True)
    _enable(plan.enabled)
    click.echo(_summary(changed))
    click.echo(
        f"{prepared.release} is installed, {plan.enabled} enabled; "
        f"start it: systemctl start {plan.enabled.removesuffix('.service')}"
    )
    return 0


def _check(role: Role, data_directory: str) -> int:
    """Prints what the checks of this machine find; returns the number of errors."""
    found = checks.failures(checks.Node(role, Paths(data_directory)))
    if found:
        click.echo(checks.table(found), err=True)
    return sum(finding.severity is Severity.ERROR for finding in found)


def _enable(unit: str) -> None:
    # The one heavy import here is needed on real nodes only.
    from rke2_units.doors.dbus import Systemd

    with Systemd() as systemd:
        # Also when no file has changed: an install that was killed may have come no further than those.
        systemd.reload()
        systemd.enable(unit)


def _summary(changed: list[Change]) -> str:
    if not changed:
        return "nothing had to be changed"
    removed = sum(change.kind is Kind.REMOVE for change in changed)
    return f"{len(changed) - removed} files and folders written, {removed} removed"
