"""What is known of one release."""

from collections.abc import Mapping
from dataclasses import dataclass

# How kube-proxy comes to a node: as a static pod or with a chart, never both.
STATIC_POD = "static-pod"
CHART = "chart"

# The names of two image lists: what every node needs, and one that holds everything.
CORE = "core"
ALL = "all"


@dataclass(frozen=True)
class Release:
    """One release; the names in `images` are RKE2's config keys, the references are as RKE2 writes them."""

    name: str
    # Kubernetes' major and minor version.
    kubernetes: tuple[int, int]
    etcd: tuple[int, int, int]
    # The version of containerd's config.toml: 2 for containerd 1.x, 3 for 2.x.
    containerd_config: int
    kube_proxy: str
    # Whether its containerd is RKE2's build, in which the rewrites of registries.yaml act.
    rewrites: bool
    images: Mapping[str, str]
    # RKE2's image lists by name ("core", "canal", ...): qualified references, sorted.
    lists: Mapping[str, tuple[str, ...]]
