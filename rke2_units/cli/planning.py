"""From config files, this machine's facts and a release to the plan, for the commands that use it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.config.load import load
from rke2_units.errors import ConfigurationError
from rke2_units.join import cluster_config
from rke2_units.model import Plan
from rke2_units.node import configured, installation, releases
from rke2_units.node.environment import command_environment
from rke2_units.node.facts import gather
from rke2_units.node.installation import Installation
from rke2_units.plan import make_plan
from rke2_units.plan.node import Node
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT
from rke2_units.unit_names import Role

_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Planned:
    """A plan, the node that it is for, and the installation that goes with it."""

    plan: Plan
    node: Node
    installation: Installation
    # What is allowed in the configuration but not wise, one line each.
    warnings: tuple[str, ...]

    @property
    def release(self) -> str:
        return self.installation.release


@dataclass(frozen=True)
class Chosen:
    """The role of this machine, its configuration, and the name of its release."""

    role: Role
    config: Config
    release: str
    # The variables with keys and proxies, besides config.yaml.
    environment: Mapping[str, str]


def choose(
    role: Role | None,
    release_name: str | None,
    config_file: str | None = None,
    arguments: Sequence[tuple[str, str]] = (),
) -> Chosen:
    """The role, configuration and release; if not given, from the node's installation and config.yaml.

    Without an installation the role is server and the release the default. `arguments`: keys and values that
    override those of files.
    """
    installed = installation.read()
    role = role or (installed.role if installed else Role.SERVER)
    environment = command_environment(role, dict(os.environ))
    config = load(role, config_file=config_file, environment=environment, arguments=arguments)
    pinned = installed.release if installed else DEFAULT
    return Chosen(role, config, release_name or configured.release_name(config, pinned), environment)


def take_proxies(environment: Mapping[str, str]) -> None:
    """Lets this process use the node's proxies, for each of its own that is not set."""
    own = {name.lower() for name in os.environ}
    for name, value in environment.items():
        if name.lower() in _PROXIES and name.lower() not in own:
            os.environ[name] = value


def make_plan_here(
    role: Role | None,
    release_name: str | None,
    config_file: str | None = None,
    *,
    find: Callable[[Chosen], Release] = lambda chosen: releases.find(chosen.release),
    arguments: Sequence[tuple[str, str]] = (),
) -> Planned:
    """The plan for this machine; `choose` supplies what is not given, `find` returns the release.

    An agent's plan has the cluster's values that its servers sent before.
    """
    chosen = choose(role, release_name, config_file, arguments)
    release = find(chosen)
    config = chosen.config
    if chosen.role is Role.AGENT:
        kept = cluster_config.kept(derived.paths(config).cluster_config)
        config = cluster_config.over(config, kept or {}, "the cluster's servers")
    facts = gather(chosen.role, config, environment=chosen.environment)
    plan = make_plan(chosen.role, config, facts, release)
    node = Node(config, facts, release)
    warnings = (*configured.warnings(config), *plan.warnings)
    return Planned(plan, node, configured.to_record(node), warnings)


def refuse_other_role(role: Role) -> None:
    """Raises ConfigurationError when this node is installed with the other role."""
    installed = installation.read()
    if installed is not None and installed.role is not role:
        raise ConfigurationError(
            f"this node is installed as {installed.role} ({installed.release})",
            hint=f"a node has one role: run rke2-units uninstall before installing it as {role}",
        )
