"""The folders of a node and their modes (RKE2's; the modes help to protect secrets)."""

from rke2_units import layout
from rke2_units.layout import Paths
from rke2_units.model import Directory
from rke2_units.plan.node import Node
from rke2_units.unit_names import Role


def of_server(paths: Paths, etcd_owner: tuple[int, int]) -> tuple[Directory, ...]:
    """What a server alone has, parents first. The etcd pod's user owns its data (profiles cis and etcd)."""
    return (
        Directory(paths.server, 0o700),
        Directory(paths.server_etc, 0o700),
        Directory(paths.tls, 0o700),
        Directory(paths.etcd_tls, 0o700),
        Directory(f"{paths.tls}/kube-scheduler", 0o700),
        Directory(f"{paths.tls}/kube-controller-manager", 0o700),
        # The apiserver's --cert-dir.
        Directory(f"{paths.tls}/temporary-certs", 0o700),
        Directory(paths.credentials, 0o700),
        Directory(paths.manifests, 0o700),
        Directory(paths.server_logs, 0o700),
        # What anyone may fetch from port 9345; its server is a user of its own, and /server is closed to it.
        Directory(paths.static, 0o755),
        Directory(f"{paths.server}/db", 0o700 if etcd_owner == (0, 0) else 0o711),
        Directory(paths.etcd_data, 0o700, *etcd_owner),
        Directory(paths.snapshots, 0o700),
    )


def plan_directories(node: Node, etcd_owner: tuple[int, int]) -> tuple[Directory, ...]:
    """All of a node's, parents first."""
    paths = node.paths
    return (
        Directory(layout.STATE_DIRECTORY, 0o755),
        Directory("/etc/rancher/rke2", 0o755, keep=True),
        Directory(layout.NODE_DIRECTORY, 0o755),
        Directory(paths.data, 0o755),
        Directory(paths.content, 0o755),
        *(of_server(paths, etcd_owner) if node.role is Role.SERVER else ()),
        Directory(paths.agent, 0o755),
        Directory(f"{paths.agent}/logs", 0o750),
        Directory(paths.images, 0o755),
        Directory(paths.pod_manifests, 0o700),
        Directory(paths.staged_manifests, 0o700),
        Directory(paths.containerd_root, 0o700),
        Directory(paths.agent_etc, 0o755),
        Directory(paths.containerd_etc, 0o755),
        Directory(f"{paths.containerd_etc}/certs.d", 0o700),
        Directory(paths.kubelet_etc, 0o700),
        Directory(layout.UNIT_DIRECTORY, 0o755),
    )
