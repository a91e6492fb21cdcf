"""The static pods: etcd and the control plane, as RKE2 writes them, one template for all."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from rke2_units import ports, unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File
from rke2_units.plan import (
    cloud_controller,
    control_plane,
    environment,
    etcd,
    mounts,
    probes,
    server_files,
    yaml_text,
)
from rke2_units.plan.node import Node
from rke2_units.plan.templates import render
from rke2_units.release.model import STATIC_POD, Release
from rke2_units.unit_names import Role

INITIAL_ANNOTATION = "etcd.k3s.io/initial"

# What each listens on, by the names that its manifest gives them.
PORTS = {
    unit_names.ETCD: {
        "client": ports.ETCD_CLIENT_PORT,
        "peer": ports.ETCD_PEER_PORT,
        "metrics": ports.ETCD_METRICS_PORT,
    },
    unit_names.KUBE_APISERVER: {"apiserver": ports.APISERVER_PORT},
    unit_names.KUBE_CONTROLLER_MANAGER: {"metrics": ports.CONTROLLER_MANAGER_PORT},
    unit_names.KUBE_SCHEDULER: {"metrics": ports.SCHEDULER_PORT},
    unit_names.CLOUD_CONTROLLER_MANAGER: {"metrics": ports.CLOUD_CONTROLLER_MANAGER_PORT},
    unit_names.KUBE_PROXY: {"metrics": ports.KUBE_PROXY_HEALTH_PORT},
}


@dataclass(frozen=True)
class StaticPod:
    """A static pod. `text` is its manifest (YAML), `image` the qualified reference in it."""

    component: str
    uid: str
    image: str
    text: str


def components(config: Config, release: Release) -> tuple[str, ...]:
    """The components that this node runs as static pods, in starting order."""
    candidates = unit_names.STATIC_PODS if config.role is Role.SERVER else (unit_names.KUBE_PROXY,)
    return tuple(component for component in candidates if _runs(component, config, release))


def _runs(component: str, config: Config, release: Release) -> bool:
    if component == unit_names.CLOUD_CONTROLLER_MANAGER:
        # Beside an apiserver alone, as RKE2 places its control plane.
        return derived.runs(config, unit_names.KUBE_APISERVER) and cloud_controller.runs(config, release)
    return derived.runs(config, component) and (
        component != unit_names.KUBE_PROXY or release.kube_proxy == STATIC_POD
    )


def manifest(component: str, node: Node) -> StaticPod:
    """The static pod of a component.

    Its uid is a hash of its content and of the file that it is written to: RKE2's rule, by which a kubelet
    sees a changed manifest as a new pod, and an unchanged one as the old.
    """
    arguments = control_plane.arguments(component, node)
    mounted = mounts.plan_mounts(component, arguments, node)
    proxies = environment.proxies(node)
    extra = derived.extra_environment(node.config, component)
    user, group = _user(component, node)
    image = node.image(f"{component}-image")
    values = {
        "name": component,
        "annotations": _annotations(component, node),
        "image": image,
        "arguments": arguments,
        "environment": [
            ("FILE_HASH", _file_hash(mounted, node)),
            # The kubelet expands $(NAME) in values, and $$ stands for $.
            *((name, value.replace("$", "$$")) for name, value in proxies.items()),
            *extra,
        ],
        "ports": PORTS[component],
        "probes": probes.plan_probes(component, node),
        "resources": _resources(component, node.config),
        "privileged": component == unit_names.KUBE_PROXY,
        "user": user,
        "group": group,
        "mounts": mounted,
    }

    def text(uid: str) -> str:
        return yaml_text.from_json_texts(render("static-pod.yaml", uid=uid, **values))

    path = node.paths.manifest(component)
    uid = hashlib.md5(f"{text('')}file:{path}".encode(), usedforsecurity=False).hexdigest()
    return StaticPod(component, uid, image, text(uid))


def _annotations(component: str, node: Node) -> dict[str, str]:
    if component != unit_names.ETCD:
        return {}
    return {INITIAL_ANNOTATION: json.dumps(etcd.initial(node), separators=(",", ":"))}


def _resources(component: str, config: Config) -> dict[str, dict[str, str]]:
    requests = derived.resource_requests(config)[component]
    limits = derived.resource_limits(config).get(component, {})
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _user(component: str, node: Node) -> tuple[int | None, int | None]:
    if component != unit_names.ETCD or not derived.has_profile(node.config):
        return None, None
    if node.facts.etcd_user is None:
        raise node.config.error(
            "profile",
            f"{node.config.text('profile')} runs etcd as the user etcd, which does not exist",
            hint='create it: useradd --system --user-group --no-create-home --comment "etcd user" '
            "--shell /usr/sbin/nologin etcd",
        )
    return etcd.owner(node)


def _file_hash(mounted: Iterable[mounts.Mount], node: Node) -> str:
    """SHA-256 over the digests of all files that are mounted one by one: new content makes a new pod."""
    digests = dict(node.facts.digests) | _planned_digests(node)
    total = hashlib.sha256()
    for mount in mounted:
        if mount.type == mounts.FILE:
            total.update(digests.get(mount.source, "").encode())
    return total.hexdigest()


def _planned_digests(node: Node) -> dict[str, str]:
    """Digests of the content in this plan: the files on disk may still be older."""
    if node.role is not Role.SERVER:
        return {}
    planned: list[File] = [*server_files.files(node), *etcd.files(node)]
    return {
        file.path: hashlib.sha256(file.content.encode()).hexdigest()
        for file in planned
        if not (file.keep and file.path in node.facts.digests)
    }
