"""The releases that a node can run. A new Kubernetes is a new entry here and, if need be, in features.py."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from rke2_units.errors import ConfigurationError
from rke2_units.release.model import STATIC_POD, Release

DEFAULT = "v1.36.4+rke2r1"


def _images(
    *, runtime: str, kubernetes: str, etcd: str, pause: str, cloud_controller_manager: str | None = None
) -> Mapping[str, str]:
    images = {
        "runtime-image": f"rancher/rke2-runtime:{runtime}",
        "kube-apiserver-image": f"rancher/hardened-kubernetes:{kubernetes}",
        "kube-controller-manager-image": f"rancher/hardened-kubernetes:{kubernetes}",
        "kube-scheduler-image": f"rancher/hardened-kubernetes:{kubernetes}",
        "kube-proxy-image": f"rancher/hardened-kubernetes:{kubernetes}",
        "etcd-image": f"rancher/hardened-etcd:{etcd}",
        "pause-image": f"rancher/mirrored-pause:{pause}",
    }
    if cloud_controller_manager is not None:
        images["cloud-controller-manager-image"] = f"rancher/rke2-cloud-provider:{cloud_controller_manager}"
    return MappingProxyType(images)


_ALL = (
    Release(
        name="v1.36.4+rke2r1",
        kubernetes=(1, 36),
        etcd=(3, 6, 14),
        containerd_config=3,
        kube_proxy=STATIC_POD,
        rewrites=True,
        images=_images(
            runtime="v1.36.4-rke2r1",
            kubernetes="v1.36.4-rke2r1-build20260821",
            etcd="v3.6.14-k3s1-build20260819",
            pause="3.10.2",
            cloud_controller_manager="v1.35.1-0.20260817230842-2a1e2e8cf41b-build20260820",
        ),
    ),
    # These two are built from Debian's packages by the tests: r1 from Debian 12 (containerd 1.6),
    # r2 from Debian 13 (containerd 1.7).
    Release(
        name="v1.20.2+rke2r1",
        kubernetes=(1, 20),
        etcd=(3, 4, 23),
        containerd_config=2,
        kube_proxy=STATIC_POD,
        rewrites=False,
        images=_images(
            runtime="v1.20.2-rke2r1", kubernetes="v1.20.2-rke2r1", etcd="v3.4.23-rke2r1", pause="3.2"
        ),
    ),
    Release(
        name="v1.20.2+rke2r2",
        kubernetes=(1, 20),
        etcd=(3, 5, 16),
        containerd_config=2,
        kube_proxy=STATIC_POD,
        rewrites=False,
        images=_images(
            runtime="v1.20.2-rke2r2", kubernetes="v1.20.2-rke2r2", etcd="v3.5.16-rke2r2", pause="3.2"
        ),
    ),
)

RELEASES: Mapping[str, Release] = MappingProxyType({release.name: release for release in _ALL})


def release(name: str) -> Release:
    """The release of this name; ConfigurationError, with the nearest names, when there is none."""
    try:
        return RELEASES[name]
    except KeyError:
        nearest = difflib.get_close_matches(name, RELEASES, n=1)
        known = ", ".join(RELEASES)
        hint = f"did you mean {nearest[0]}? known: {known}" if nearest else f"known: {known}"
        raise ConfigurationError(f"unknown release {name!r}", hint=hint) from None
