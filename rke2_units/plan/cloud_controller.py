"""RKE2's own cloud-controller-manager: nodes' addresses and provider ids, and the service load balancer.

It manages the nodes where the release has its image and the user has no cloud provider of their own. Where
only enable-servicelb asks for it, it runs for the load balancer alone.
"""

import json

from rke2_units import unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File
from rke2_units.plan import addresses
from rke2_units.plan.node import Node
from rke2_units.release import images
from rke2_units.release.model import Release

_IMAGE_KEY = f"{unit_names.CLOUD_CONTROLLER_MANAGER}-image"
_PROVIDER = "rke2"
_LOAD_BALANCER = "/klipper-lb:"


def handles_nodes(config: Config, release: Release) -> bool:
    """Whether it initialises the cluster's nodes; until then kubelets taint their nodes."""
    return (
        derived.runs(config, unit_names.CLOUD_CONTROLLER_MANAGER)
        and not config.text("cloud-provider-name")
        and _has_image(config, release)
    )


def runs(config: Config, release: Release) -> bool:
    """Whether servers have it. ConfigurationError for a load balancer that the release has no image of."""
    if not config.boolean("enable-servicelb"):
        return handles_nodes(config, release)
    if not _has_image(config, release):
        raise config.error(
            "enable-servicelb",
            f"cannot be true: release {release.name} has no cloud-controller-manager, which contains it",
            hint=f"set {_IMAGE_KEY}, or leave enable-servicelb out",
        )
    return True


def files(node: Node) -> list[File]:
    """Its configuration (JSON, k3s' Config in pkg/cloudprovider), where it runs."""
    config, release = node.config, node.release
    if not runs(config, release):
        return []
    balances = config.boolean("enable-servicelb")
    settings = {
        "lbDefaultPriorityClassName": "system-node-critical",
        "lbEnabled": balances,
        **({"lbImage": _load_balancer_image(config, release)} if balances else {}),
        "lbNamespace": config.text("servicelb-namespace"),
        "nodeEnabled": handles_nodes(config, release),
    }
    return [File(node.paths.cloud_config, json.dumps(settings, indent=2) + "\n", 0o600)]


def arguments(node: Node) -> dict[str, str]:
    """Its flags, by name: RKE2's, but it keeps its health port where it manages no nodes."""
    paths = node.paths
    off = ["route"]
    if not node.config.boolean("enable-servicelb"):
        off.append("service")
    if not handles_nodes(node.config, node.release):
        off += ["cloud-node", "cloud-node-lifecycle"]
    return {
        "allocate-node-cidrs": "true",
        "authentication-kubeconfig": paths.cloud_controller_kubeconfig,
        "authorization-kubeconfig": paths.cloud_controller_kubeconfig,
        "kubeconfig": paths.cloud_controller_kubeconfig,
        "bind-address": addresses.LOOPBACK,
        "cloud-config": paths.cloud_config,
        "cloud-provider": _PROVIDER,
        "cluster-cidr": ",".join(node.cluster_cidrs),
        "configure-cloud-routes": "false",
        "controllers": ",-".join(["*", *off]),
        "feature-gates": "CloudDualStackNodeIPs=true",
        "leader-elect-resource-name": "rke2-cloud-controller-manager",
        "node-status-update-frequency": "1m0s",
        "profiling": "false",
    }


def _has_image(config: Config, release: Release) -> bool:
    return bool(config.text(_IMAGE_KEY) or _IMAGE_KEY in release.images)


def _load_balancer_image(config: Config, release: Release) -> str:
    """The image of the load balancer's pods, which the controller writes into their DaemonSets."""
    listed = {image for lines in release.lists.values() for image in lines if _LOAD_BALANCER in image}
    if not listed:
        raise config.error(
            "enable-servicelb",
            f"cannot be true: the image lists of release {release.name} have no klipper-lb",
            hint="leave it out, or use a release that has it",
        )
    image = max(listed)
    registry = derived.default_registry(config)
    return image.replace(images.DOCKER_HUB, registry, 1) if registry else image
