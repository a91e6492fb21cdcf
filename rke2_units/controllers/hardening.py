"""Creates what `profile: cis` requires in the cluster, under RKE2's names: work of the lease's holder.

These are NetworkPolicies in the namespaces that every cluster has, and default service accounts whose tokens
are not mounted automatically (CIS 5.3.2, 5.1.5). A policy is created once, which an annotation of its
namespace records, so that an administrator can change it. If the annotation is removed, it is created again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from rke2_units.controllers import nodes
from rke2_units.controllers.nodes import MANAGER, Nodes
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, Client, Object, Resource, path_of, path_to

_SYSTEM = "kube-system"
NAMESPACES = (_SYSTEM, "kube-public", "default")
ACCOUNT_NAMESPACES = (*NAMESPACES, "kube-node-lease")
DONE = "resolved"
_NAMESPACES = "/api/v1/namespaces"
_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", namespaced=True)
# The annotation that flannel sets on its nodes, and the policy for them.
FLANNEL = "flannel.alpha.coreos.com/public-ip"
FLANNEL_POLICY = "rke2-flannel-host-networking"
# RKE2's controller for that policy sets this finalizer on each node. Unless it is removed, a node of a
# cluster that ran RKE2 before can never be deleted.
RKE2_FINALIZER = "wrangler.cattle.io/cisnetworkpolicy-node"
# Whole nodes on a page: each is large, because it lists its images.
_PAGE = 100


@dataclass(frozen=True)
class Policy:
    """Who may reach which pods of a namespace; `annotation` records that the policy was created."""

    name: str
    annotation: str
    rule: Object
    pods: Mapping[str, str] = field(default_factory=dict)
    namespaces: tuple[str, ...] = (_SYSTEM,)


def _to_ports(*ports: int | str, protocols: tuple[str, ...] = ("TCP",)) -> Object:
    return {"ports": [{"protocol": protocol, "port": port} for port in ports for protocol in protocols]}


_NGINX = {"app.kubernetes.io/name": "rke2-ingress-nginx"}
POLICIES = (
    Policy("default-network-policy", "np.rke2.io", {"from": [{"podSelector": {}}]}, namespaces=NAMESPACES),
    Policy(
        "default-network-dns-policy",
        "np.rke2.io/dns",
        _to_ports(53, protocols=("TCP", "UDP")),
        {"k8s-app": "kube-dns"},
    ),
    Policy("default-network-ingress-policy", "np.rke2.io/ingress", _to_ports("http", "https"), _NGINX),
    Policy(
        "default-network-ingress-webhook-policy", "np.rke2.io/ingress-webhook", _to_ports("webhook"), _NGINX
    ),
    Policy(
        "default-network-traefik-policy",
        "np.rke2.io/traefik",
        _to_ports("web", "websecure"),
        {"app.kubernetes.io/name": "rke2-traefik"},
    ),
    Policy(
        "default-network-snapshot-validation-webhook-policy",
        "np.rke2.io/snapshot-validation-webhook",
        _to_ports("https"),
        {"app.kubernetes.io/name": "rke2-snapshot-validation-webhook"},
    ),
    Policy(
        "default-network-metrics-server-policy",
        "np.rke2.io/metrics-server",
        _to_ports("https"),
        {"app": "rke2-metrics-server"},
    ),
)


class Hardening:
    """Each step does what is left to do, raises UserError if it cannot, and costs nothing afterwards."""

    def __init__(self, client: Client, known: Nodes) -> None:
        self._client = client
        self._nodes = known
        # Namespaces whose policies, and whose service account, are done.
        self._with_policies: set[str] = set()
        self._with_account: set[str] = set()
        # The nodes (name, uid) that flannel's policy admits.
        self._hosts: frozenset[tuple[str, str]] = frozenset()

    def forget(self) -> None:
        """Forgets what is done: another server may hold the lease now and change it."""
        self._with_policies.clear()
        self._with_account.clear()
        self._hosts = frozenset()

    def make_policies(self) -> None:
        for namespace in NAMESPACES:
            if namespace not in self._with_policies:
                path = path_to(_NAMESPACES, namespace)
                found = _found(self._client, path)
                if found is not None:
                    self._make_policies_of(namespace, path, found)
                    self._with_policies.add(namespace)

    def _make_policies_of(self, namespace: str, path: str, found: Object) -> None:
        made = found["metadata"].get("annotations") or {}
        for policy in POLICIES:
            if namespace in policy.namespaces and policy.annotation not in made:
                self._apply(namespace, policy.name, policy.pods, [policy.rule])
                # Last: a process that is killed before this applies the policy again.
                self._client.merge_patch(path, {"metadata": {"annotations": {policy.annotation: DONE}}})
                journal.log(Level.INFO, f"created NetworkPolicy {namespace}/{policy.name} (profile cis)")

    def restrict_accounts(self) -> None:
        """Default accounts; the controller manager creates them, possibly after the API is ready."""
        for namespace in ACCOUNT_NAMESPACES:
            path = path_to(_NAMESPACES, namespace, "serviceaccounts", "default")
            if namespace not in self._with_account and _found(self._client, path) is not None:
                self._client.merge_patch(path, {"automountServiceAccountToken": False})
                self._with_account.add(namespace)

    def let_hosts_in(self) -> None:
        """Admits nodes: with flannel (canal) they reach pods from the first address of their own range."""
        hosts = frozenset(
            (name, str(metadata.get("uid", "")))
            for name, metadata in self._nodes.metadata().items()
            if FLANNEL in (metadata.get("annotations") or {})
        )
        if not hosts or hosts == self._hosts:
            return
        names = {name for name, _ in hosts}
        blocks = sorted(
            address
            for node in self._client.list(nodes.PATH, limit=_PAGE)
            if node["metadata"]["name"] in names
            for address in first_addresses(node.get("spec") or {})
        )
        rule = {"from": [{"ipBlock": {"cidr": block}} for block in blocks]}
        # A rule without addresses would let everybody in.
        for namespace in NAMESPACES if blocks else ():
            self._apply(namespace, FLANNEL_POLICY, {}, [rule])
        self._hosts = hosts

    def release_nodes(self) -> None:
        """Removes RKE2's finalizer from nodes that still have it."""
        for name, metadata in self._nodes.metadata().items():
            finalizers = metadata.get("finalizers") or []
            if RKE2_FINALIZER in finalizers:
                rest = [each for each in finalizers if each != RKE2_FINALIZER]
                patch = {"finalizers": rest or None, "resourceVersion": metadata["resourceVersion"]}
                try:
                    self._client.merge_patch(nodes.path(name), {"metadata": patch})
                except ApiError as error:
                    # The node was deleted or changed meanwhile: the watch reports that.
                    if error.status not in (404, 409):
                        raise

    def _apply(self, namespace: str, name: str, pods: Mapping[str, str], rules: list[Object]) -> None:
        policy = {
            "apiVersion": f"{_POLICIES.group}/{_POLICIES.version}",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "podSelector": {"matchLabels": dict(pods)} if pods else {},
                "policyTypes": ["Ingress"],
                "ingress": rules,
            },
        }
        self._client.apply(path_of(_POLICIES, namespace, name), policy, manager=MANAGER)


def first_addresses(spec: Object) -> list[str]:
    """The first address of each range of pods in a node's spec, as a range of its own."""
    found = []
    for text in spec.get("podCIDRs") or [spec.get("podCIDR")]:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            continue
        found.append(f"{network.network_address}/{network.max_prefixlen}")
    return found


def _found(client: Client, path: str) -> Object | None:
    try:
        return client.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None
