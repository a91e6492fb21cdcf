"""rke2-units images: what a node needs, as a list and as an archive."""

import click

from rke2_units.cli.planning import Chosen, choose
from rke2_units.names import Role
from rke2_units.node import releases
from rke2_units.plan.mirror import needed


def show(role: Role | None, release: str | None, config_file: str | None) -> None:
    """Prints what a registry has to hold for this node, one qualified reference a line."""
    for image in _needed(choose(role, release, config_file)):
        click.echo(image)


def _needed(chosen: Chosen) -> tuple[str, ...]:
    found = needed(chosen.role, chosen.config, releases.find(chosen.release))
    for name in found.unlisted:
        click.echo(
            f"warning: {chosen.release} has no image list for {name}; its images are not among these",
            err=True,
        )
    return found.images
