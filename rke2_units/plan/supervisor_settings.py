"""What the supervisor has to know: one JSON file, and the files that systemd hands to it as credentials."""

import json

from rke2_units import layout, ports
from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.plan import addresses, image_programs
from rke2_units.plan.cluster_config import describe_cluster
from rke2_units.plan.control_plane import CIPHER_SUITES
from rke2_units.plan.node import Node

_OLDEST_TLS = "VersionTLS12"
WILDCARDS = ("0.0.0.0", "::")


def credentials(node: Node) -> dict[str, str]:
    """Every file that the supervisor reads, by the name that systemd hands it over with.

    The key of an authority of the user's own may be kept elsewhere.
    """
    paths, digests = node.paths, node.facts.digests
    tls, etcd = paths.tls, paths.etcd_tls
    authorities = {
        "server-ca": f"{tls}/server-ca",
        "client-ca": f"{tls}/client-ca",
        "request-header-ca": f"{tls}/request-header-ca",
        "etcd-server-ca": f"{etcd}/server-ca",
        "etcd-peer-ca": f"{etcd}/peer-ca",
    }
    identities = {
        "serving": f"{tls}/serving-supervisor",
        "client": f"{tls}/client-supervisor",
        "etcd-client": f"{etcd}/client",
    }
    elsewhere = {f"{base}.key" for base in authorities.values() if f"{base}.crt" in digests} - digests.keys()
    return {
        **{
            f"{name}.{suffix}": f"{base}.{suffix}"
            for name, base in (authorities | identities).items()
            for suffix in ("crt", "key")
            if f"{base}.{suffix}" not in elsewhere
        },
        "service.key": f"{tls}/service.key",
        "passwd": paths.passwd,
        "ipsec.psk": paths.ipsec_key,
        "encryption-config.json": paths.encryption_config,
        "encryption-state.json": paths.encryption_state,
    }


def listen(config: Config) -> str:
    """The socket's ListenStream=: a port alone is that of all addresses, of IPv6 too where there is any."""
    address = config.text("bind-address")
    if address in WILDCARDS:
        return str(ports.SUPERVISOR_PORT)
    return addresses.host_port(address, ports.SUPERVISOR_PORT)


def text(node: Node) -> str:
    """The settings file's content."""
    config = node.config
    roles = derived.server_roles(config)
    # RKE2's supervisor speaks the TLS that kube-apiserver was told to speak.
    given = dict(grammar.argument(item) for item in config.items("kube-apiserver-arg"))
    suites = given.get("tls-cipher-suites") or CIPHER_SUITES
    settings = {
        "node_name": node.name,
        "node_ips": addresses.node_ips(node),
        "kubernetes": {"url": addresses.url("https", addresses.LOOPBACK, ports.APISERVER_PORT)},
        "config": describe_cluster(node),
        "min_tls_version": given.get("tls-min-version") or _OLDEST_TLS,
        "cipher_suites": suites.split(","),
        "etcdctl": image_programs.etcdctl(node).path,
        "etcd_url": addresses.url("https", addresses.LOOPBACK, ports.ETCD_CLIENT_PORT),
        "static": node.paths.static,
        "apiservers_fallback": [addresses.host_port(node.advertise_address, ports.APISERVER_PORT)]
        if roles.control_plane
        else [],
        "connections": 256,
        "requests": layout.SUPERVISOR_REQUESTS if roles.etcd else "",
    }
    return json.dumps(settings, indent=2) + "\n"
