"""The cluster's nodes from its API: roles, readiness, version, and membership of etcd."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from rke2_units import cluster_names
from rke2_units.cluster.api_time import seconds
from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.printable import line

_ROLE_LABEL = "node-role.kubernetes.io/"
# The condition that the etcd controllers of servers keep on their nodes.
_VOTER = "EtcdIsVoter"
# Objects that are looked at: 5 for each server, unless more are kept.
_MOST_SNAPSHOTS = 2000
_SILENT = "its kubelet has not reported yet"


@dataclass(frozen=True)
class ClusterNode:
    """One Node object. `etcd` is "voter", "learner", or "" for a node that runs none as far as is known.

    `since` is when it became ready, or stopped being so, in seconds since the epoch, 0 when that is not
    known; `problem` is "" when it is ready, else why it is not. `snapshot` is when the newest snapshot of
    etcd on it was taken, 0 where that was not asked.
    """

    name: str
    address: str
    roles: tuple[str, ...]
    version: str
    ready: bool
    since: float
    etcd: str = ""
    remarks: str = ""
    problem: str = ""
    snapshot: float = 0


@dataclass(frozen=True)
class Cluster:
    """All nodes by name, or `problem`: why they are not known."""

    nodes: tuple[ClusterNode, ...] = ()
    problem: str = ""


def ask(paths: Paths, timeout: float) -> Cluster | None:
    """The cluster, asked through this node's way to an API server; None for a node that has none yet.

    `timeout` is in seconds, for each answer. Root only.
    """
    # What costs most of all here, and is not needed before a node's first start.
    from rke2_units.cluster import kubernetes_api

    try:
        # kube-proxy's identity may list nodes, and every node has it; a kubelet may read its own alone
        # since Kubernetes 1.32.
        client = kubernetes_api.client(paths.kube_proxy_kubeconfig, timeout)
        if client is None:
            return None
        try:
            nodes = [node_from(obj) for obj in client.list("/api/v1/nodes")]
        finally:
            client.close()
    except UserError as error:
        return Cluster(problem=error.message)
    taken: Mapping[str, float] = {}
    # This node knows its own.
    if sum("etcd" in node.roles for node in nodes) > 1:
        # The nodes must not have been asked for in vain.
        taken = _snapshots(paths, timeout / 2)
    nodes = [replace(node, snapshot=taken.get(node.name, 0)) for node in nodes]
    return Cluster(tuple(sorted(nodes, key=lambda node: node.name)))


def _snapshots(paths: Paths, timeout: float) -> dict[str, float]:
    """When the newest good snapshot of each node was taken; {} where nobody knows, as on agents."""
    from rke2_units.cluster import kubernetes_api
    from rke2_units.snapshots.objects import COLLECTION, STORAGE_LABEL
    from rke2_units.snapshots.snapshot import S3

    taken: dict[str, float] = {}
    try:
        client = kubernetes_api.client(paths.admin_kubeconfig, timeout)
        if client is None:
            return {}
        try:
            listed = client.list(COLLECTION, label_selector=f"{STORAGE_LABEL},{STORAGE_LABEL}!={S3}")
            for obj in islice(listed, _MOST_SNAPSHOTS):
                node, moment = snapshot_from(obj)
                taken[node] = max(moment, taken.get(node, 0))
        finally:
            client.close()
    except UserError:
        # The cluster has no such objects yet, or does not answer any more.
        return {}
    return taken


def snapshot_from(obj: Mapping[str, Any]) -> tuple[str, float]:
    """The node of an ETCDSnapshotFile (the API's JSON), and when it was taken; 0 for one that failed."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    is_good = status.get("readyToUse") is not False and not status.get("error")
    return str(spec.get("nodeName", "")), seconds(status.get("creationTime")) if is_good else 0


def node_from(obj: Mapping[str, Any]) -> ClusterNode:
    """What a Node object (the API's JSON) says."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    is_ready = ready.get("status") == "True"
    annotations = metadata.get("annotations") or {}
    # Nobody takes the condition back.
    leaves = annotations.get(cluster_names.ETCD_REMOVE_ANNOTATION) == "true"
    has_left = leaves and bool(annotations.get(cluster_names.ETCD_REMOVED_ANNOTATION))
    voter = None if has_left else conditions.get(_VOTER, {}).get("status")
    addresses = {each["type"]: each["address"] for each in reversed(status.get("addresses") or ())}
    remarks = (
        "cordoned" if (obj.get("spec") or {}).get("unschedulable") else "",
        "being deleted" if metadata.get("deletionTimestamp") else "",
        ("has left etcd" if has_left else "leaving etcd") if leaves else "",
    )
    return ClusterNode(
        name=line(metadata["name"]),
        address=line(addresses.get("InternalIP", "")),
        roles=tuple(
            sorted(label.removeprefix(_ROLE_LABEL) for label in labels if label.startswith(_ROLE_LABEL))
        ),
        version=line((status.get("nodeInfo") or {}).get("kubeletVersion", "")),
        ready=is_ready,
        since=seconds(ready.get("lastTransitionTime")),
        etcd={"True": "voter", "False": "learner"}.get(str(voter), ""),
        remarks=", ".join(remark for remark in remarks if remark),
        problem="" if is_ready else f"it is not ready: {line(ready.get('message') or _SILENT)}",
    )
