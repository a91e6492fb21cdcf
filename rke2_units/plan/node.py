"""The node that a plan is made for: its settings, its machine and its release, as one value."""

from dataclasses import dataclass
from functools import cached_property

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.release import images
from rke2_units.release.model import Release
from rke2_units.unit_names import Role


@dataclass(frozen=True)
class Node:
    """The input of a plan. Values that several parts of the plan need are derived here, once."""

    config: Config
    facts: NodeFacts
    release: Release

    @property
    def role(self) -> Role:
        return self.config.role

    @cached_property
    def paths(self) -> Paths:
        return derived.paths(self.config)

    @cached_property
    def name(self) -> str:
        return derived.node_name(self.config, self.facts)

    @cached_property
    def cluster_cidrs(self) -> tuple[str, ...]:
        """The ranges of pods."""
        return derived.cluster_cidrs(self.config, self.facts)

    @cached_property
    def service_cidrs(self) -> tuple[str, ...]:
        return derived.service_cidrs(self.config, self.facts)

    @cached_property
    def cluster_dns(self) -> tuple[str, ...]:
        return derived.cluster_dns(self.config, self.facts)

    @cached_property
    def advertise_address(self) -> str:
        """The address under which this server's kube-apiserver is known."""
        return derived.advertise_address(self.config, self.facts)

    def image(self, key: str) -> str:
        """The fully qualified reference of a key's image, as it stands in manifests."""
        return images.image(self.config, self.release, key)
