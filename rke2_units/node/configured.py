"""What follows from a node's configuration besides its plan, for the commands and for its start."""

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.node import installation, remarks
from rke2_units.node.environment import ignored_lines
from rke2_units.node.installation import Installation
from rke2_units.plan import addresses, kubelet
from rke2_units.plan.node import Node


def release_name(config: Config, pinned: str) -> str:
    """The release that the node is to run: the one in config.yaml, else the installed one (`pinned`)."""
    return config.text("release") or pinned


def warnings(config: Config) -> tuple[str, ...]:
    """What is allowed in the configuration but not wise, one line each."""
    found = remarks.of_configuration(derived.paths(config))
    return (*config.warnings, *ignored_lines(config.role), *found)


def to_record(node: Node) -> Installation:
    """The node's installation as it is to be recorded when its plan is applied."""
    return installation.planned(
        node.role,
        node.release.name,
        node.paths.data,
        kubelet.root_directory(node.config),
        addresses.first_family(node),
    )
