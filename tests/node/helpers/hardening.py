"""What is to be seen of a hardened node, in few looks: modes, command lines, configurations, the API."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.cis import APISERVER, KUBE_PROXY, MANAGER, SCHEDULER, Cluster, Seen
from tests.nodes.machine import Node

_SYSCTLS = Path(__file__).parents[3] / "debian/rke2-cis-sysctl.conf"
# RKE2's, with all verbs for nodes.
_KNOWN_ROLES = ("rke2-cloud-controller-manager",)
_KUBERNETES_OWN = "kubernetes.io/bootstrapping"
_NAMESPACES = ("kube-system", "kube-public", "default")


def set_kernel_parameters(node: Node) -> None:
    """As docs/hardening.md has it. They are the host's, where every kubelet without a profile sets them."""
    node.copy_in(_SYSCTLS, "/etc/sysctl.d/60-rke2-cis.conf")
    node.systemctl("restart", "systemd-sysctl")


def is_done(node: Node) -> bool:
    """Whether the controllers have done what they do once."""
    accounts = _items(node, "serviceaccounts", "--field-selector=metadata.name=default")
    annotations = _items(node, "namespaces")
    done = [item for item in annotations if "np.rke2.io" in (item["metadata"].get("annotations") or {})]
    return len(done) == len(_NAMESPACES) and all("automountServiceAccountToken" in item for item in accounts)


def look(node: Node) -> Seen:
    data = node.data_directory
    kubelet = node.kubectl("get", "--raw", f"/api/v1/nodes/{node.name}/proxy/configz").stdout
    encryption = json.loads(node.read(f"{data}/server/cred/encryption-config.json"))
    return Seen(
        files=_files(node, data),
        flags={name: _flags(node, name) for name in (APISERVER, MANAGER, SCHEDULER, KUBE_PROXY)},
        kubelet=json.loads(kubelet)["kubeletconfig"],
        kubelet_file=yaml.safe_load(node.read(f"{data}/agent/etc/kubelet.conf.d/00-rke2-defaults.conf")),
        etcd=yaml.safe_load(node.read(f"{data}/server/db/etcd/config")),
        encryption=[name for each in encryption["resources"][0]["providers"] for name in each],
        listening=_listening(node),
        cluster=_cluster(node),
    )


def _files(node: Node, data: str) -> dict[str, tuple[int, str]]:
    listed = node.sh(
        f"cd {data} && find server/tls server/cred server/db/etcd agent/pod-manifests agent/*.kubeconfig"
        " agent/*.crt -printf '%m %u:%g %p\\n'"
    ).stdout
    rows = (line.split(" ", 2) for line in listed.splitlines())
    return {path: (int(mode, 8), owner) for mode, owner, path in rows}


def _flags(node: Node, component: str) -> dict[str, list[str]]:
    pod = f"{component}-{node.name}"
    [pid] = [c.pid for c in node.containers().values() if c.pod == pod and c.name == component and c.pid]
    found: dict[str, list[str]] = {}
    for argument in node.read(f"/proc/{pid}/cmdline").split("\0")[1:]:
        name, _, value = argument.removeprefix("--").partition("=")
        found.setdefault(name, []).append(value)
    return found


def _listening(node: Node) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for line in node.run("ss", "-Hltn").stdout.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), []).append(address)
    return found


def _cluster(node: Node) -> Cluster:
    bindings = [
        *_items(node, "clusterrolebindings"),
        *_items(node, "rolebindings"),
    ]
    accounts = _items(node, "serviceaccounts", "--field-selector=metadata.name=default")
    policies = _items(node, "networkpolicies")
    return Cluster(
        cluster_admins=[
            f"{subject['kind']} {subject['name']}"
            for item in bindings
            if item["roleRef"]["name"] == "cluster-admin"
            for subject in item.get("subjects") or []
        ],
        wildcard_roles=[
            item["metadata"]["name"]
            for item in (*_items(node, "clusterroles"), *_items(node, "roles"))
            if _KUBERNETES_OWN not in (item["metadata"].get("labels") or {})
            and item["metadata"]["name"] not in _KNOWN_ROLES
            and any(
                "*" in (rule.get(key) or [])
                for rule in item.get("rules") or []
                for key in ("verbs", "resources")
            )
        ],
        pod_makers=[
            group
            for group in ("system:authenticated", "system:unauthenticated", "system:serviceaccounts")
            if _can_make_pods(node, group)
        ],
        default_accounts={
            item["metadata"]["namespace"]: item.get("automountServiceAccountToken") for item in accounts
        },
        policies={
            name: [item["metadata"]["name"] for item in policies if item["metadata"]["namespace"] == name]
            for name in _NAMESPACES
        },
    )


def _can_make_pods(node: Node, group: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "",
            "groups": [group],
            "resourceAttributes": {"verb": "create", "resource": "pods"},
        },
    }
    answer = node.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(review)).stdout
    return bool(json.loads(answer)["status"]["allowed"])


def _items(node: Node, kind: str, *options: str) -> list[Any]:
    found: list[Any] = json.loads(node.kubectl("get", kind, "-A", "-o", "json", *options).stdout)["items"]
    return found
