"""What the programs that units run have to know: one JSON file, as it is read without any library."""

import json
from collections.abc import Container, Iterable, Sequence

from rke2_units import ports, unit_names
from rke2_units.config import derived
from rke2_units.plan import api_proxy, etcd, soundness
from rke2_units.plan.image_programs import ImageProgram
from rke2_units.plan.node import Node
from rke2_units.plan.programs import Programs, content_directory
from rke2_units.plan.static_pods import StaticPod
from rke2_units.release import images

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


def _health_checks(node: Node, components: Container[str]) -> dict[str, dict[str, str | bool]]:
    """The health checks: the URL of each component (or other need), and what its answer must contain.

    A node without a kube-apiserver of its own asks the others' through its proxy, as the kubelet.
    """

    def loopback(port: int, path: str) -> str:
        return f"127.0.0.1:{port}{path}"

    paths, is_proxied = node.paths, api_proxy.leads_to_apiservers(node.config)
    apiserver = "https://" + loopback(ports.APISERVER_PORT, "")
    folder, client = paths.tls, "client-kube-apiserver"
    if is_proxied:
        apiserver = api_proxy.apiserver_url(node.config)
        folder, client = paths.agent, "client-kubelet"
    # A component that runs elsewhere cannot be waited for here, unless there is a way to it.
    is_there = {
        "kubelet": True,
        unit_names.KUBE_APISERVER: is_proxied or unit_names.KUBE_APISERVER in components,
        _ETCD_VOTES: unit_names.ETCD in components,
        _CLOUD_CONTROLLER_ROLES: unit_names.CLOUD_CONTROLLER_MANAGER in components,
    }
    checks: dict[str, dict[str, str | bool]] = {
        "kubelet": {"url": "http://" + loopback(ports.KUBELET_HEALTH_PORT, "/healthz")},
        unit_names.ETCD: {
            "url": "http://" + loopback(ports.ETCD_METRICS_PORT, "/health"),
            "contains": '"health":"true"',
        },
        # Not etcd's metric: after a snapshot it is wrong for a learner (etcd #17175). In the list of members
        # that peers get, a learner has "isLearner" between its addresses and its name.
        _ETCD_VOTES: {
            "url": "https://" + loopback(ports.ETCD_PEER_PORT, "/members"),
            "authority": f"{paths.etcd_tls}/peer-ca.crt",
            "certificate": f"{paths.etcd_tls}/peer-server-client.crt",
            "key": f"{paths.etcd_tls}/peer-server-client.key",
            "contains": f'],"name":"{etcd.member_name(node)}"',
        },
        unit_names.KUBE_APISERVER: {
            "url": f"{apiserver}/readyz",
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
    return {name: check for name, check in checks.items() if is_there.get(name, name in components)}


def text(
    node: Node, programs: Programs, from_images: Iterable[ImageProgram], static_pods: Sequence[StaticPod]
) -> str:
    """The settings file's content. `from_images` are the programs that are taken out of images."""
    config, paths = node.config, node.paths
    health_checks = _health_checks(node, {pod.component for pod in static_pods})
    settings = {
        "data_directory": paths.data,
        "node_name": node.name,
        "containerd_socket": derived.containerd_socket(config),
        "ctr": programs.ctr,
        "namespace": "k8s.io",
        "snapshotter": config.text("snapshotter"),
        "registries": paths.program_registries,
        "content": {
            "image": images.reference(config, node.release, images.RUNTIME_IMAGE),
            "pull": node.image(images.RUNTIME_IMAGE),
            "directory": content_directory(config, node.release),
            "archives": paths.images,
        },
        **{
            program.name: {"image": program.image, "pull": program.pull, "directory": program.directory}
            for program in from_images
        },
        **({"etcd_join": etcd.join_settings(node)} if node.facts.etcd_join else {}),
        # No pod starts without the pause image.
        "images": {
            "archives": paths.images,
            "first": [node.image("pause-image")],
            "extra_registries": list(config.items("airgap-extra-registry")),
        },
        "static_pods": {
            pod.component: {
                "image": pod.image,
                "uid": pod.uid,
                "staged": paths.staged_manifest(pod.component),
                "manifest": paths.manifest(pod.component),
                "needs": [need for need in NEEDS[pod.component] if need in health_checks],
            }
            for pod in static_pods
        },
        # For the next plan: what a node that has registered by then can no longer be given.
        "registered": {name: config.items(name) for name in soundness.ONLY_WHEN_IT_REGISTERS},
        "health_checks": health_checks,
    }
    return json.dumps(settings, indent=2) + "\n"
