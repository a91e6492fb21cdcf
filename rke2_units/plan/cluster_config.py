"""A server's answer about its cluster (/v1-rke2/config), with RKE2's names and networks as Go writes them.

Agents take the cluster's values from it, and a joining server compares it with its own.
"""

import base64
import ipaddress

from rke2_units import ports
from rke2_units.config import derived
from rke2_units.plan.node import Node


def describe_cluster(node: Node) -> dict[str, object]:
    """The answer as data."""
    config = node.config
    pods = [_network(text) for text in node.cluster_cidrs]
    services = [_network(text) for text in node.service_cidrs]
    dns = list(node.cluster_dns)
    return {
        "AdvertiseIP": node.advertise_address,
        "AdvertisePort": ports.APISERVER_PORT,
        "APIServerPort": ports.APISERVER_PORT,
        "ClusterDNS": dns[0],
        "ClusterDNSs": dns,
        "ClusterDomain": config.text("cluster-domain"),
        "ClusterIPRange": pods[0],
        "ClusterIPRanges": pods,
        "DisableCCM": config.boolean("disable-cloud-controller"),
        "DisableHelmController": False,
        "DisableKubeProxy": config.boolean("disable-kube-proxy"),
        # RKE2 has neither k3s' controller of network policies nor its flannel.
        "DisableNPC": True,
        "DisableServiceLB": not config.boolean("enable-servicelb"),
        # There are no tunnels: agents need not open any.
        "EgressSelectorMode": "disabled",
        "EmbeddedRegistry": config.boolean("embedded-registry"),
        "EncryptProvider": config.text("secrets-encryption-provider"),
        "EncryptSecrets": True,
        "FlannelBackend": "none",
        "FlannelExternalIP": False,
        "FlannelIPv6Masq": False,
        "HTTPSPort": ports.APISERVER_PORT,
        "ServerNodeName": node.name,
        "ServiceIPRange": services[0],
        "ServiceIPRanges": services,
        "SupervisorMetrics": config.boolean("supervisor-metrics"),
        "SupervisorPort": ports.SUPERVISOR_PORT,
        "SystemDefaultRegistry": derived.default_registry(config),
    }


def _network(text: str) -> dict[str, str]:
    network = ipaddress.ip_network(text)
    mask = base64.b64encode(network.netmask.packed).decode()
    return {"IP": str(network.network_address), "Mask": mask}
