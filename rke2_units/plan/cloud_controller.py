"""RKE2's own cloud-controller-manager, which gives nodes their addresses and provider ids.

It runs where the release has its image and the user has no cloud provider of their own.
"""

import json

from rke2_units import names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File, NodeFacts
from rke2_units.names import Paths
from rke2_units.plan import addresses
from rke2_units.release.model import Release

_IMAGE_KEY = f"{names.CLOUD_CONTROLLER_MANAGER}-image"
_PROVIDER = "rke2"


def runs(config: Config, release: Release) -> bool:
    """Whether the cluster has it; kubelets taint their nodes then until it has seen to them."""
    return (
        derived.runs(config, names.CLOUD_CONTROLLER_MANAGER)
        and not config.text("cloud-provider-name")
        and bool(config.text(_IMAGE_KEY) or _IMAGE_KEY in release.images)
    )


def files(config: Config, release: Release) -> list[File]:
    """Its configuration (JSON, RKE2's names), where it runs."""
    if not runs(config, release):
        return []
    settings = {
        "lbDefaultPriorityClassName": "system-node-critical",
        "lbEnabled": config.boolean("enable-servicelb"),
        "lbNamespace": config.text("servicelb-namespace"),
        "nodeEnabled": True,
    }
    paths = Paths(derived.data_directory(config))
    return [File(paths.cloud_config, json.dumps(settings, indent=2) + "\n", 0o600)]


def arguments(config: Config, facts: NodeFacts, release: Release, paths: Paths) -> dict[str, str]:
    """Its flags (RKE2's), by name."""
    return {
        "allocate-node-cidrs": "true",
        "authentication-kubeconfig": paths.cloud_controller_kubeconfig,
        "authorization-kubeconfig": paths.cloud_controller_kubeconfig,
        "kubeconfig": paths.cloud_controller_kubeconfig,
        "bind-address": addresses.LOOPBACK,
        "cloud-config": paths.cloud_config,
        "cloud-provider": _PROVIDER,
        "cluster-cidr": ",".join(derived.cluster_cidrs(config, facts)),
        "configure-cloud-routes": "false",
        "controllers": "*,-route,-service",
        "feature-gates": "CloudDualStackNodeIPs=true",
        "leader-elect-resource-name": "rke2-cloud-controller-manager",
        "node-status-update-frequency": "1m0s",
        "profiling": "false",
    }
