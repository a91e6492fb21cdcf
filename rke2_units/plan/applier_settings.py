"""What the helm-applier and the program that stages its charts have to know: one JSON file."""

import json

from rke2_units import layout, ports
from rke2_units.config import derived
from rke2_units.layout import Paths
from rke2_units.plan import addresses, charts, image_programs, programs
from rke2_units.plan.node import Node
from rke2_units.release import features

# RKE2's deploy controller goes by this name as well.
_IDENTITY = "client-supervisor"


# What the applier has no use for and root may read, or may reach to become more than it is.
_HIDDEN = (
    "/etc/rancher",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/ssh",
    "/root",
    "/run/containerd",
    "/run/dbus",
    "/run/k3s",
    "/run/systemd/private",
)


def reads(paths: Paths) -> tuple[str, ...]:
    """All files below `server` that the applier reads, besides the manifests and the static files."""
    return (paths.applier_settings, *material(paths), paths.supervisor_kubeconfig)


def hidden(paths: Paths, helm_program: str) -> tuple[str, ...]:
    """What the applier is not to see, but for a folder that has the data or its helm in it."""
    needed = (paths.data, helm_program)
    return tuple(
        hide for hide in (*_HIDDEN, paths.agent) if not any(path.startswith(f"{hide}/") for path in needed)
    )


def material(paths: Paths) -> tuple[str, ...]:
    """The PEM files that the applier reads when it starts."""
    return (
        f"{paths.tls}/server-ca.crt",
        f"{paths.tls}/{_IDENTITY}.crt",
        f"{paths.tls}/{_IDENTITY}.key",
    )


def text(node: Node) -> str:
    """The settings file's content."""
    config, paths = node.config, node.paths
    authority, certificate, key = material(paths)
    has_content = not derived.uses_host_content(config)
    content = paths.content_directory(programs.content_directory(config, node.release))
    chosen = config.items("ingress-controller") if config.is_set("ingress-controller") else ()
    settings = {
        "node_name": node.name,
        "kubernetes": {
            "url": addresses.url("https", addresses.LOOPBACK, ports.APISERVER_PORT),
            "authority": authority,
            "certificate": certificate,
            "key": key,
        },
        "kubeconfig": paths.supervisor_kubeconfig,
        "manifests": paths.manifests,
        "disabled": charts.disabled(config, node.release),
        "helm": image_programs.helm(node).path,
        "work": layout.APPLIER_WORK,
        "staging": {
            "charts": f"{content}/charts" if has_content else "",
            "values": charts.cluster_values(node),
            "network": charts.network(config),
            "ingress": chosen,
            "default_ingress": features.default_ingress(node.release),
        },
    }
    return json.dumps(settings, indent=2) + "\n"
