"""The values that must be equal on all servers (RKE2's list), compared before a server joins."""

import base64
import binascii
import ipaddress
from collections.abc import Mapping

from rke2_units import printable
from rke2_units.errors import ConfigurationError

# RKE2's name of the value, and its fields in /v1-rke2/config.
_CRITICAL = {
    "cluster-cidr": ("ClusterIPRanges", "ClusterIPRange"),
    "service-cidr": ("ServiceIPRanges", "ServiceIPRange"),
    "cluster-dns": ("ClusterDNSs", "ClusterDNS"),
    "cluster-domain": ("ClusterDomain",),
    "disable-cloud-controller": ("DisableCCM",),
    "disable-kube-proxy": ("DisableKubeProxy",),
    "egress-selector-mode": ("EgressSelectorMode",),
    "embedded-registry": ("EmbeddedRegistry",),
    "enable-servicelb": ("DisableServiceLB",),
    "helm-controller": ("DisableHelmController",),
    "network-policy": ("DisableNPC",),
    "secrets-encryption": ("EncryptSecrets",),
    "secrets-encryption-provider": ("EncryptProvider",),
    "supervisor-metrics": ("SupervisorMetrics",),
}


def compare(here: Mapping[str, object], there: Mapping[str, object]) -> None:
    """Raises ConfigurationError, with RKE2's words, if critical values of two servers differ.

    Both are answers of /v1-rke2/config; a field that is missing in one of them is not compared.
    """
    different = []
    for name, fields in _CRITICAL.items():
        for field in fields:
            if field not in here or field not in there:
                continue
            ours, theirs = _text(here[field]), _text(there[field])
            if ours != theirs:
                different.append(f"{name} is {ours} here and {theirs} there")
            break
    if different:
        raise ConfigurationError(
            f"critical configuration value mismatch between servers: {'; '.join(different)}",
            hint="set the same values in config.yaml on all servers",
        )


def _text(value: object) -> str:
    """The value in one canonical spelling, to compare and to show it."""
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    if isinstance(value, dict) and {"IP", "Mask"} <= value.keys():
        try:
            length = int.from_bytes(base64.b64decode(value["Mask"], validate=True), "big").bit_count()
            return str(ipaddress.ip_network(f"{value['IP']}/{length}", strict=False))
        except (TypeError, ValueError, binascii.Error):
            pass  # shown as it is
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable.line(value)[:200] or "nothing"
