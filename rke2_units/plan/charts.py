"""Which of the packaged charts a cluster gets, and the values that it gives them (RKE2's rules)."""

import ipaddress
from collections.abc import Iterable

from rke2_units import unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.plan.node import Node
from rke2_units.release.model import CHART, Release

_NETWORK_PLUGINS = ("calico", "canal", "cilium", "flannel", "multus")
# Bundled cloud providers cannot be chosen.
_CLOUD_PROVIDERS = (
    "rancher-vsphere-cpi",
    "rancher-vsphere-csi",
    "harvester-cloud-provider",
    "harvester-csi-driver",
    "rke2-ovirt-csi-driver",
)
_KUBE_PROXY = "rke2-kube-proxy"
# Every chart that releases have or had, by its file's name: what `disable` is likely to mean.
PACKAGED = frozenset(
    (
        *(f"rke2-{name}" for name in _NETWORK_PLUGINS),
        *_CLOUD_PROVIDERS,
        _KUBE_PROXY,
        "rke2-calico-crd",
        "rke2-coredns",
        "rke2-ingress-nginx",
        "rke2-metrics-server",
        "rke2-runtimeclasses",
        "rke2-security-responder",
        "rke2-snapshot-controller",
        "rke2-snapshot-controller-crd",
        "rke2-snapshot-validation-webhook",
        "rke2-traefik",
        "rke2-traefik-crd",
    )
)


def disabled(config: Config, release: Release) -> tuple[str, ...]:
    """The manifests that are not deployed, by base name: `disable`, and what else was chosen against.

    Those of unselected ingress controllers are not among them: which one is the default may depend on what
    is installed already.
    """
    plugins = derived.cni(config)
    unselected = [
        f"rke2-{name}{part}" for name in _NETWORK_PLUGINS if name not in plugins for part in ("", "-crd")
    ]
    kube_proxy = []
    if derived.runs(config, unit_names.KUBE_PROXY) != (release.kube_proxy == CHART):
        # A static pod has its place, or there is to be none. Where the user has disabled a release's static
        # pod, a chart of that name is the user's own.
        kube_proxy = [_KUBE_PROXY]
    every = (*config.items("disable"), *unselected, *_CLOUD_PROVIDERS, *kube_proxy)
    return tuple(dict.fromkeys(every))


def network(config: Config) -> tuple[str, ...]:
    """The charts, by base name, without which pods have no network; one that is disabled is the user's."""
    return tuple(
        name for plugin in derived.cni(config) if (name := f"rke2-{plugin}") not in config.items("disable")
    )


def cluster_values(node: Node) -> dict[str, str]:
    """What charts that ask for it get in `spec.set`, but for the class of the ingress controller."""
    config, ranges = node.config, node.cluster_cidrs
    registry = derived.default_registry(config)
    return {
        "global.clusterCIDR": ",".join(ranges),
        "global.clusterCIDRv4": ",".join(_of_version(4, ranges)),
        "global.clusterCIDRv6": ",".join(_of_version(6, ranges)),
        "global.clusterDNS": ",".join(node.cluster_dns),
        "global.clusterDomain": config.text("cluster-domain"),
        "global.rke2DataDir": node.paths.data,
        "global.serviceCIDR": ",".join(node.service_cidrs),
        "global.prime.enabled": "true" if config.boolean("prime") else "false",
        "global.systemDefaultRegistry": registry,
        "global.cattle.systemDefaultRegistry": registry,
    }


def _of_version(version: int, ranges: Iterable[str]) -> Iterable[str]:
    return (text for text in ranges if ipaddress.ip_network(text).version == version)
