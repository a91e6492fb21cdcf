"""What the programs that units run have to know: one JSON file, as it is read without any library."""

import json
from collections.abc import Mapping, Sequence

from rke2_units import ports, unit_names
from rke2_units.layout import Paths
from rke2_units.plan.etcdctl import Etcdctl
from rke2_units.plan.helm import directory_name
from rke2_units.plan.static_pods import StaticPod
from rke2_units.release.model import Release

# What the controllers apply last of the roles in manifests/rbac.yaml.
_CLOUD_CONTROLLER_ROLES = "the cloud-controller-manager's roles"
# A member that has joined is healthy and serves nobody until it is promoted.
_ETCD_VOTES = "etcd to be a voting member"
# What must hold before a component's manifest is written (RKE2's gates).
NEEDS = {
    unit_names.ETCD: ("kubelet",),
    unit_names.KUBE_APISERVER: (unit_names.ETCD, _ETCD_VOTES),
    unit_names.KUBE_CONTROLLER_MANAGER: (unit_names.KUBE_APISERVER,),
    unit_names.KUBE_SCHEDULER: (unit_names.KUBE_APISERVER,),
    # Without its roles it ends at once.
    unit_names.CLOUD_CONTROLLER_MANAGER: (unit_names.KUBE_APISERVER, _CLOUD_CONTROLLER_ROLES),
    unit_names.KUBE_PROXY: (unit_names.KUBE_APISERVER,),
}


def facts(paths: Paths, proxied: str = "", member: str = "") -> dict[str, dict[str, str | bool]]:
    """How each fact that a gate waits for is asked: an address and what the answer must hold.

    `proxied` is the URL by which an agent reaches its servers' kube-apiserver, asked as the kubelet;
    `member` the name of this server's member of etcd.
    """

    def loopback(port: int, path: str) -> str:
        return f"127.0.0.1:{port}{path}"

    folder, client = (paths.agent, "client-kubelet") if proxied else (paths.tls, "client-kube-apiserver")
    return {
        "kubelet": {"url": "http://" + loopback(ports.KUBELET_HEALTH_PORT, "/healthz")},
        unit_names.ETCD: {
            "url": "http://" + loopback(ports.ETCD_METRICS_PORT, "/health"),
            "contains": '"health":"true"',
        },
        # Not etcd's metric, which after a snapshot says of a learner that it is none (etcd #17175). In the
        # list of members, which peers get, a learner has "isLearner" between its addresses and its name.
        _ETCD_VOTES: {
            "url": "https://" + loopback(ports.ETCD_PEER_PORT, "/members"),
            "authority": f"{paths.etcd_tls}/peer-ca.crt",
            "certificate": f"{paths.etcd_tls}/peer-server-client.crt",
            "key": f"{paths.etcd_tls}/peer-server-client.key",
            "contains": f'],"name":"{member}"',
        },
        unit_names.KUBE_APISERVER: {
            "url": f"{proxied}/readyz"
            if proxied
            else "https://" + loopback(ports.APISERVER_PORT, "/readyz"),
            "authority": f"{folder}/server-ca.crt",
            "certificate": f"{folder}/{client}.crt",
            "key": f"{folder}/{client}.key",
        },
        # These answer /healthz to anyone on loopback, with a certificate that names no address.
        unit_names.KUBE_CONTROLLER_MANAGER: {
            "url": "https://" + loopback(ports.CONTROLLER_MANAGER_PORT, "/healthz"),
            "insecure": True,
        },
        unit_names.KUBE_SCHEDULER: {
            "url": "https://" + loopback(ports.SCHEDULER_PORT, "/healthz"),
            "insecure": True,
        },
        unit_names.CLOUD_CONTROLLER_MANAGER: {
            "url": "https://" + loopback(ports.CLOUD_CONTROLLER_MANAGER_PORT, "/healthz"),
            "insecure": True,
        },
        _CLOUD_CONTROLLER_ROLES: {
            "url": "https://"
            + loopback(
                ports.APISERVER_PORT,
                "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
            ),
            "authority": f"{paths.tls}/server-ca.crt",
            "certificate": f"{paths.tls}/client-rke2-cloud-controller.crt",
            "key": f"{paths.tls}/client-rke2-cloud-controller.key",
        },
        unit_names.KUBE_PROXY: {"url": "http://" + loopback(ports.KUBE_PROXY_HEALTH_PORT, "/healthz")},
    }


def text(
    paths: Paths,
    *,
    node_name: str,
    release: Release,
    runtime_image: str,
    runtime_image_to_pull: str,
    content_directory: str,
    helm_image: str,
    helm_image_to_pull: str,
    etcdctl: Etcdctl | None,
    etcd_join: Mapping[str, str],
    containerd_socket: str,
    ctr: str,
    pause_image: str,
    snapshotter: str,
    extra_registries: Sequence[str],
    static_pods: Sequence[StaticPod],
    proxied: str = "",
    member: str = "",
    registered: Mapping[str, Sequence[str]] | None = None,
    lacks_backups: bool = False,
) -> str:
    """The settings file's content. `proxied`, `member`: as in facts().

    `registered` is for the next plan: what a node that has registered by then can no longer be given.
    """
    components = {pod.component for pod in static_pods}
    # A component that runs elsewhere cannot be waited for here, unless there is a way to it.
    known = {"kubelet", *components, *([unit_names.KUBE_APISERVER] if proxied else [])}
    if unit_names.ETCD in components:
        known.add(_ETCD_VOTES)
    if unit_names.CLOUD_CONTROLLER_MANAGER in components:
        known.add(_CLOUD_CONTROLLER_ROLES)
    settings = {
        "data_directory": paths.data,
        "node_name": node_name,
        "release": release.name,
        **({"lacks_backups": True} if lacks_backups else {}),
        "containerd_socket": containerd_socket,
        "ctr": ctr,
        "namespace": "k8s.io",
        "snapshotter": snapshotter,
        "registries": paths.program_registries,
        "content": {
            "image": runtime_image,
            "pull": runtime_image_to_pull,
            "directory": content_directory,
            "archives": paths.images,
        },
        **_helm(helm_image, helm_image_to_pull),
        **_etcdctl(etcdctl),
        **({"etcd_join": etcd_join} if etcd_join else {}),
        # No pod starts without the pause image.
        "images": {
            "archives": paths.images,
            "first": [pause_image],
            "extra_registries": list(extra_registries),
        },
        "static_pods": {
            pod.component: {
                "image": pod.image,
                "uid": pod.uid,
                "staged": paths.staged_manifest(pod.component),
                "manifest": paths.manifest(pod.component),
                "needs": [need for need in NEEDS[pod.component] if need in known],
                "fact": pod.component,
            }
            for pod in static_pods
        },
        "registered": registered or {},
        "facts": {name: fact for name, fact in facts(paths, proxied, member).items() if name in known},
    }
    return json.dumps(settings, indent=2) + "\n"


def _helm(image: str, pull: str) -> dict[str, object]:
    """The image that rke2-helm.service takes helm from, where it is to."""
    return {"helm": {"image": image, "pull": pull, "directory": directory_name(image)}} if image else {}


def _etcdctl(wanted: Etcdctl | None) -> dict[str, object]:
    """The image that rke2-etcdctl.service takes etcdctl from, where it is to."""
    if wanted is None:
        return {}
    return {"etcdctl": {"image": wanted.image, "pull": wanted.pull, "directory": wanted.directory}}
