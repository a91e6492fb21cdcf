"""The names of units and static pods, and the two roles of a node.

Imported by the programs that units start, so it imports next to nothing.
"""

from enum import StrEnum

CONTENT_UNIT = "rke2-content.service"
CONTAINERD_UNIT = "rke2-containerd.service"
IMAGES_UNIT = "rke2-images.service"
KUBELET_UNIT = "rke2-kubelet.service"
HELM_UNIT = "rke2-helm.service"
APPLIER_UNIT = "rke2-helm-applier.service"
SUPERVISOR_SOCKET = "rke2-supervisor.socket"
SUPERVISOR_UNIT = "rke2-supervisor.service"
ETCDCTL_UNIT = "rke2-etcdctl.service"
ETCD_JOIN_UNIT = "rke2-etcd-join.service"
CONTROLLERS_UNIT = "rke2-controllers.service"
API_PROXY_UNIT = "rke2-api-proxy.service"
SNAPSHOT_UNIT = "rke2-etcd-snapshot.service"
SNAPSHOT_TIMER = "rke2-etcd-snapshot.timer"
SNAPSHOT_RECONCILE_UNIT = "rke2-etcd-snapshot-reconcile.service"
SNAPSHOT_RECONCILE_TIMER = "rke2-etcd-snapshot-reconcile.timer"
SNAPSHOT_VERIFY_UNIT = "rke2-etcd-snapshot-verify.service"
SNAPSHOT_REQUEST_SOCKET = "rke2-etcd-snapshot-request.socket"
# A connection to the socket starts an instance of it.
SNAPSHOT_REQUEST_TEMPLATE = "rke2-etcd-snapshot-request@.service"


class Role(StrEnum):
    """What a node is; the value is also the name that users type."""

    SERVER = "server"
    AGENT = "agent"

    @property
    def unit(self) -> str:
        return f"rke2-{self.value}.service"

    @property
    def other(self) -> "Role":
        return Role.AGENT if self is Role.SERVER else Role.SERVER


ETCD = "etcd"
KUBE_APISERVER = "kube-apiserver"
KUBE_CONTROLLER_MANAGER = "kube-controller-manager"
KUBE_SCHEDULER = "kube-scheduler"
KUBE_PROXY = "kube-proxy"
CLOUD_CONTROLLER_MANAGER = "cloud-controller-manager"
# In starting order.
STATIC_PODS = (
    ETCD,
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    KUBE_SCHEDULER,
    CLOUD_CONTROLLER_MANAGER,
    KUBE_PROXY,
)

_STATIC_POD = "rke2-static-pod@"


def static_pod_unit(component: str) -> str:
    return f"{_STATIC_POD}{component}.service"


# The file that the units of all static pods are made from.
STATIC_POD_TEMPLATE = static_pod_unit("")


def static_pod_of(unit: str) -> str:
    """The component whose static pod this unit is, "" for another unit."""
    return component(unit) if unit.startswith(_STATIC_POD) else ""


def component(unit: str) -> str:
    """The name that people use for a unit: etcd, kubelet, containerd, content, ..."""
    return unit.rpartition(".")[0].removeprefix(_STATIC_POD).removeprefix("rke2-")
