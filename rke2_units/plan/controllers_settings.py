"""The settings (one JSON file) of the controllers, which do the tasks of the whole cluster."""

import json

from rke2_units import layout, ports
from rke2_units.config import derived
from rke2_units.layout import Paths
from rke2_units.plan import addresses, etcd, image_programs
from rke2_units.plan.node import Node
from rke2_units.plan.node_annotations import plan_annotations

# RKE2's supervisor does this work, under this name.
_IDENTITY = "client-supervisor"


def material(paths: Paths) -> tuple[str, ...]:
    """The files that they read when they start."""
    return (
        f"{paths.tls}/server-ca.crt",
        f"{paths.tls}/{_IDENTITY}.crt",
        f"{paths.tls}/{_IDENTITY}.key",
        f"{paths.etcd_tls}/server-ca.crt",
        f"{paths.etcd_tls}/client.crt",
        f"{paths.etcd_tls}/client.key",
        # It changes with the token.
        paths.passwd,
        *bootstrap_files(paths).values(),
    )


def bootstrap_files(paths: Paths) -> dict[str, str]:
    """The files that all servers have alike, by RKE2's names of them."""
    return {name: f"{paths.server}/{path}" for name, path in layout.BOOTSTRAP_FILES.items()}


def kubernetes(paths: Paths) -> dict[str, str]:
    """How RKE2's supervisor reaches kube-apiserver, and as whom."""
    return {
        "url": addresses.url("https", addresses.LOOPBACK, ports.APISERVER_PORT),
        "authority": f"{paths.tls}/server-ca.crt",
        "certificate": f"{paths.tls}/{_IDENTITY}.crt",
        "key": f"{paths.tls}/{_IDENTITY}.key",
    }


def members(node: Node) -> dict[str, object]:
    """How etcd is reached, and with which program."""
    tls = node.paths.etcd_tls
    return {
        "etcdctl": image_programs.etcdctl(node).path,
        "endpoints": [addresses.url("https", addresses.LOOPBACK, ports.ETCD_CLIENT_PORT)],
        "authority": f"{tls}/server-ca.crt",
        "certificate": f"{tls}/client.crt",
        "key": f"{tls}/client.key",
    }


def text(node: Node) -> str:
    """The settings file's content."""
    config, paths = node.config, node.paths
    roles = derived.server_roles(config)
    settings = {
        "node_name": node.name,
        "kubernetes": kubernetes(paths),
        "etcd": members(node),
        "token_file": paths.token,
        "node_password_file": layout.NODE_PASSWORD_FILE,
        "rbac": paths.rbac,
        "control_plane": roles.control_plane,
        # "" where no etcd runs.
        "member_name": etcd.member_name(node) if roles.etcd else "",
        "member_address": addresses.node_ips(node)[0],
        "is_hardened": config.text("profile") == "cis",
        "lets_flannel_in": config.text("profile") == "cis" and "canal" in config.items("cni"),
        "node_annotations": plan_annotations(node),
        "bootstrap_files": bootstrap_files(paths),
    }
    return json.dumps(settings, indent=2) + "\n"
