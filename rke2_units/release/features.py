"""Flags, fields and paths that came and went with the versions of Kubernetes and etcd.

Each table holds only what is not the same in all releases; what no table names is everywhere.
Sources: the programs' own --help texts and the changelogs of Kubernetes and etcd.
"""

from typing import NamedTuple

from rke2_units import unit_names
from rke2_units.release.model import Release

KUBELET = "kubelet"


class Minors(NamedTuple):
    """Kubernetes' minor versions from `since` to `until`, both included; None: open on that side."""

    since: int | None = None
    until: int | None = None

    def hold(self, release: Release) -> bool:
        minor = release.kubernetes[1]
        return (self.since is None or minor >= self.since) and (self.until is None or minor <= self.until)


FLAGS: dict[tuple[str, str], Minors] = {
    (unit_names.KUBE_APISERVER, "encryption-provider-config-automatic-reload"): Minors(since=26),
    # The insecure port, which has to be switched off as long as there is one.
    (unit_names.KUBE_CONTROLLER_MANAGER, "port"): Minors(until=23),
    (unit_names.KUBE_SCHEDULER, "port"): Minors(until=23),
    # Alpha before, and a matter of course later.
    (unit_names.CLOUD_CONTROLLER_MANAGER, "feature-gates"): Minors(since=27, until=29),
    # In 1.28 and 1.29 the folder needs an environment variable as well; there, as before, one file is used.
    (KUBELET, "config-dir"): Minors(since=30),
    (KUBELET, "config"): Minors(until=29),
    (KUBELET, "container-runtime"): Minors(until=26),
    (KUBELET, "container-runtime-endpoint"): Minors(until=26),
    (KUBELET, "pod-infra-container-image"): Minors(until=28),
    (KUBELET, "register-with-taints"): Minors(until=22),
    (KUBELET, "containerd"): Minors(until=36),
}

KUBELET_FIELDS: dict[str, Minors] = {
    "containerRuntimeEndpoint": Minors(since=27),
    "failCgroupV1": Minors(since=31),
    "registerWithTaints": Minors(since=23),
    # Before 1.24 it holds the format alone, which is the default.
    "logging": Minors(since=24),
}

ADMISSION_PLUGINS: dict[str, Minors] = {
    # 1.22 has it behind a feature gate.
    "PodSecurity": Minors(since=23),
}

_TRAEFIK = Minors(since=36)
# Services' addresses are objects, and no longer a bitmap as well (DisableAllocatorDualWrite).
_SERVICES_WITHOUT_BITMAP = Minors(since=34)

_PROBE_PATHS: dict[tuple[str, str], list[tuple[Minors, str]]] = {
    (unit_names.KUBE_SCHEDULER, "livez"): [(Minors(until=30), "/healthz"), (Minors(since=31), "/livez")],
    (unit_names.KUBE_SCHEDULER, "readyz"): [(Minors(until=30), "/healthz"), (Minors(since=31), "/readyz")],
    (unit_names.KUBE_PROXY, "livez"): [(Minors(until=27), "/healthz"), (Minors(since=28), "/livez")],
}

# etcd 3.6 turned experimental flags into flags proper and feature gates.
_ETCD_KEYS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int] | None]] = {
    "experimental-initial-corrupt-check": ((3, 0, 0), (3, 6, 0)),
    "feature-gates": ((3, 6, 0), None),
    "experimental-watch-progress-notify-interval": ((3, 0, 0), (3, 6, 0)),
    "watch-progress-notify-interval": ((3, 6, 0), None),
    "listen-client-http-urls": ((3, 5, 10), None),
    "socket-options": ((3, 5, 0), None),
}


def has_flag(release: Release, component: str, flag: str) -> bool:
    """Whether this release's component is given this flag (without dashes)."""
    return FLAGS.get((component, flag), Minors()).hold(release)


def has_admission_plugin(release: Release, plugin: str) -> bool:
    """Whether this release's kube-apiserver has this admission plugin."""
    return ADMISSION_PLUGINS.get(plugin, Minors()).hold(release)


def has_kubelet_field(release: Release, field: str) -> bool:
    """Whether the KubeletConfiguration of this release is given this top-level field."""
    return KUBELET_FIELDS.get(field, Minors()).hold(release)


def has_etcd_key(release: Release, key: str) -> bool:
    """Whether the configuration file of this release's etcd is given this key."""
    since, before = _ETCD_KEYS.get(key, ((0, 0, 0), None))
    return since <= release.etcd and (before is None or release.etcd < before)


def default_ingress(release: Release) -> str:
    """The ingress controller of a new cluster of this release."""
    return "traefik" if _TRAEFIK.hold(release) else "ingress-nginx"


def service_range_bits(release: Release, family: int) -> int:
    """How many bits kube-apiserver lets a range of services have for addresses; `family` is 4 or 6."""
    if not _SERVICES_WITHOUT_BITMAP.hold(release):
        return 20
    return 64 if family == 6 else 32


def probe_path(release: Release, component: str, endpoint: str) -> str:
    """The path that this release's component serves for an endpoint ("livez", "readyz", "healthz")."""
    for minors, path in _PROBE_PATHS.get((component, endpoint), ()):
        if minors.hold(release):
            return path
    return f"/{endpoint}"
