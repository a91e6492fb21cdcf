"""From config files, this machine's facts and a release to the plan, for the commands that use it."""

import os
from dataclasses import dataclass

from rke2_units.config.derived import data_directory
from rke2_units.config.load import load
from rke2_units.errors import ConfigurationError
from rke2_units.model import Plan
from rke2_units.names import Role
from rke2_units.node import installation
from rke2_units.node.environment import command_environment
from rke2_units.node.facts import gather
from rke2_units.node.installation import Installation
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release


@dataclass(frozen=True)
class Prepared:
    """A plan, and the installation that goes with it."""

    plan: Plan
    installation: Installation
    # What is allowed in the configuration but not wise, one line each.
    warnings: tuple[str, ...]

    @property
    def release(self) -> str:
        return self.installation.release


def make_plan_here(role: Role | None, release_name: str | None, config_file: str | None = None) -> Prepared:
    """The plan for this machine.

    What is not given is taken from the node's installation; without one the role is server and the release
    the default.
    """
    installed = installation.read()
    role = role or (installed.role if installed else Role.SERVER)
    chosen = release(release_name or (installed.release if installed else DEFAULT))
    environment = command_environment(role, dict(os.environ))
    config = load(role, config_file=config_file, environment=environment)
    plan = make_plan(role, config, gather(role, config, environment=environment), chosen)
    return Prepared(plan, Installation(role, chosen.name, data_directory(config)), config.warnings)


def refuse_other_role(role: Role) -> None:
    """Raises ConfigurationError when this node is installed with the other role."""
    installed = installation.read()
    if installed is not None and installed.role is not role:
        raise ConfigurationError(
            f"this node is installed as {installed.role} ({installed.release})",
            hint=f"a node has one role: run rke2-units uninstall before installing it as {role}",
        )
