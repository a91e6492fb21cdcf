"""What follows from the configuration, for everything that needs it. Pure; addresses and ranges are texts.

ConfigurationErrors name the key and where it was set.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rke2_units import ports, unit_names
from rke2_units.config import grammar
from rke2_units.config.config import Config
from rke2_units.config.grammar import Mount, Network
from rke2_units.config.keys import DISABLED_BY, HOST_CONTENT
from rke2_units.errors import UserError
from rke2_units.layout import CONTAINERD_SOCKET, Paths
from rke2_units.model import NodeFacts
from rke2_units.unit_names import Role

CLUSTER_CIDRS = {4: "10.42.0.0/16", 6: "fd00:42::/56"}
SERVICE_CIDRS = {4: "10.43.0.0/16", 6: "fd00:43::/112"}
# RKE2's choice: the tenth address of each range of services.
DNS_INDEX = 10
PRIME_REGISTRY = "registry.rancher.com"
_REQUESTS = {
    unit_names.ETCD: {"cpu": "200m", "memory": "512Mi"},
    unit_names.KUBE_APISERVER: {"cpu": "250m", "memory": "1024Mi"},
    unit_names.KUBE_CONTROLLER_MANAGER: {"cpu": "200m", "memory": "256Mi"},
    unit_names.KUBE_SCHEDULER: {"cpu": "100m", "memory": "128Mi"},
    unit_names.CLOUD_CONTROLLER_MANAGER: {"cpu": "100m", "memory": "128Mi"},
    unit_names.KUBE_PROXY: {"cpu": "250m", "memory": "128Mi"},
}


def data_directory(config: Config) -> str:
    """The folder that holds all state, without a slash at its end."""
    return grammar.data_directory(config.text("data-dir"))


def paths(config: Config) -> Paths:
    """Every path below that folder."""
    return Paths(data_directory(config))


def node_name(config: Config, facts: NodeFacts) -> str:
    """The node's name: `node-name`, else the host name; in lower case.

    With `with-node-id`, `-<id>` follows.
    """
    name = config.text("node-name") or facts.hostname
    if config.boolean("with-node-id"):
        name = f"{name}-{facts.node_id}"
    try:
        return grammar.node_name(name)
    except ValueError as error:
        if config.is_set("node-name"):
            raise config.error("node-name", f"with the node's id must be {error}, got {name!r}") from None
        raise config.error(
            "node-name",
            f"is taken from the host name, which must be {error}, got {name!r}",
            hint="set node-name",
        ) from None


def node_ips(config: Config, facts: NodeFacts) -> tuple[str, ...]:
    """The node's addresses, its first one is what others use; `node-ip`, else those found on the machine."""
    return _addresses(config, "node-ip") or facts.node_ips


def node_external_ips(config: Config) -> tuple[str, ...]:
    return _addresses(config, "node-external-ip")


def advertise_address(config: Config, facts: NodeFacts) -> str:
    """The address under which this server's kube-apiserver is known.

    It is of the family of the first range of services: kube-apiserver ends for another.
    """
    services = grammar.network(service_cidrs(config, facts)[0])
    given = config.text("advertise-address")
    if given and grammar.address(given).version != services.version:
        raise config.error(
            "advertise-address",
            f"must be an IPv{services.version} address, like the first range of services ({services}), "
            f"got {given}",
        )
    candidates = (
        *_addresses(config, "advertise-address"),
        *node_external_ips(config),
        *node_ips(config, facts),
    )
    found = [text for text in candidates if grammar.address(text).version == services.version]
    if found:
        return found[0]
    if config.is_set("node-ip"):
        raise config.error(
            "node-ip",
            f"must have an IPv{services.version} address, like the first range of services ({services})",
        )
    # No ConfigurationError, after which nothing is tried again: it may come while a machine boots.
    raise UserError(
        f"node-ip is not set, and the machine has no IPv{services.version} address with a default route",
        hint="set node-ip, or add a default route",
    )


def cluster_cidrs(config: Config, facts: NodeFacts | None = None) -> tuple[str, ...]:
    """The ranges of pods: one, or one of each family.

    The default is of the family of the node's first address; without `facts` that is known only where
    `node-ip` is set, and taken for IPv4 elsewhere.
    """
    return _ranges(config, facts, "cluster-cidr", CLUSTER_CIDRS)


def service_cidrs(config: Config, facts: NodeFacts | None = None) -> tuple[str, ...]:
    """The ranges of services, of the same families as `cluster_cidrs`."""
    return _ranges(config, facts, "service-cidr", SERVICE_CIDRS)


def cluster_dns(config: Config, facts: NodeFacts | None = None) -> tuple[str, ...]:
    """The addresses of the cluster's DNS: `cluster-dns`, else the tenth of each range of services."""
    return _addresses(config, "cluster-dns") or tuple(
        _address_at(config, text, DNS_INDEX) for text in service_cidrs(config, facts)
    )


def first_service_ip(config: Config, facts: NodeFacts | None = None) -> str:
    """The address of the service `kubernetes`."""
    return _address_at(config, service_cidrs(config, facts)[0], 1)


def subject_alternative_names(config: Config, facts: NodeFacts) -> tuple[str, ...]:
    """Names and addresses for this server's certificates, each once (RKE2's list).

    The names of the service `kubernetes`, which only kube-apiserver's certificate has, are not among them.
    """
    every = (
        *config.items("tls-san"),
        "127.0.0.1",
        "::1",
        "localhost",
        node_name(config, facts),
        *node_ips(config, facts),
        *node_external_ips(config),
        advertise_address(config, facts),
        *(_address_at(config, text, 1) for text in service_cidrs(config, facts)),
    )
    return tuple(dict.fromkeys(every))


def cni(config: Config) -> tuple[str, ...]:
    """The packaged network plugins: multus if it is wanted, and the primary one unless that is none."""
    plugins = config.items("cni")
    primary = plugins[1:] if plugins[:1] == ("multus",) else plugins
    if len(primary) != 1 or primary[0] == "multus":
        raise config.error("cni", "must be none or one network plugin, with multus in front of it or not")
    return tuple(plugin for plugin in plugins if plugin != "none")


def ingress_controllers(config: Config, default: str = "traefik") -> tuple[str, ...]:
    """The ingress controllers, the default class first; () for none. `default`: where the key is not set."""
    controllers = config.items("ingress-controller") or (default,)
    if controllers == ("none",):
        return ()
    if "none" in controllers or len(set(controllers)) != len(controllers):
        raise config.error(
            "ingress-controller", "must be none, or each of traefik and ingress-nginx at most once"
        )
    return controllers


def default_registry(config: Config) -> str:
    """The registry of images that are not set one by one; "" for each image's own."""
    return config.text("system-default-registry") or (PRIME_REGISTRY if config.boolean("prime") else "")


def protect_kernel_defaults(config: Config) -> bool:
    return config.text("profile") == "cis" or config.boolean("protect-kernel-defaults")


def has_profile(config: Config) -> bool:
    """Whether etcd runs as its own user, and only root may read the manifests of static pods."""
    return bool(config.text("profile"))


def resource_requests(config: Config) -> dict[str, dict[str, str]]:
    """What each static pod asks for, the user's over RKE2's: component → `cpu` or `memory` → quantity."""
    given = _resources(config, "control-plane-resource-requests")
    return {component: default | given.get(component, {}) for component, default in _REQUESTS.items()}


def resource_limits(config: Config) -> dict[str, dict[str, str]]:
    """The limits that the user set: component → `cpu` or `memory` → quantity."""
    return _resources(config, "control-plane-resource-limits")


def probe_values(config: Config) -> dict[str, dict[str, dict[str, int]]]:
    """What the user set of probes: component → probe (`startup`) → field (`period-seconds`) → number."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for item in config.items("control-plane-probe-configuration"):
        component, probe, field, value = grammar.component_probe(item)
        found.setdefault(component, {}).setdefault(probe, {})[field] = value
    return found


def extra_mounts(config: Config, component: str) -> tuple[Mount, ...]:
    return tuple(grammar.mount(item) for item in config.items(f"{component}-extra-mount"))


def extra_environment(config: Config, component: str) -> tuple[tuple[str, str], ...]:
    """Names and values of a component's extra environment variables, in their order."""
    return tuple(grammar.variable(item) for item in config.items(f"{component}-extra-env"))


def node_taints(config: Config) -> tuple[tuple[str, str, str], ...]:
    """Key, value ("" for none) and effect of each taint."""
    return tuple(grammar.taint(item) for item in config.items("node-taint"))


def _addresses(config: Config, name: str) -> tuple[str, ...]:
    items = config.items(name) if name != "advertise-address" else tuple(filter(None, (config.text(name),)))
    return tuple(str(grammar.address(item)) for item in items)


def _resources(config: Config, name: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for item in config.items(name):
        component, resource, quantity = grammar.component_resource(item)
        found.setdefault(component, {})[resource] = quantity
    return found


def _ranges(
    config: Config, facts: NodeFacts | None, name: str, defaults: Mapping[int, str]
) -> tuple[str, ...]:
    given = config.items(name)
    if given:
        networks = [grammar.network(item) for item in given]
        one_of_each(config, name, networks)
        return tuple(str(network) for network in networks)
    other = "service-cidr" if name == "cluster-cidr" else "cluster-cidr"
    if config.items(other):
        # Both keys have the same families, so the default follows the one that is set.
        families = [grammar.network(item).version for item in config.items(other)]
    else:
        ips = node_ips(config, facts) if facts else _addresses(config, "node-ip")
        families = [ipaddress.ip_address(ips[0]).version if ips else 4]
    return tuple(defaults[family] for family in families)


def one_of_each(config: Config, name: str, values: Sequence[Network | grammar.Address]) -> None:
    """ConfigurationError unless there is at most one of each address family."""
    versions = [value.version for value in values]
    if len(set(versions)) != len(versions):
        what = "range" if name.endswith("cidr") else "address"
        raise config.error(name, f"must be one {what}, or one IPv4 and one IPv6 {what}")


def _address_at(config: Config, text: str, index: int) -> str:
    network = ipaddress.ip_network(text)
    if index >= network.num_addresses:
        raise config.error("service-cidr", f"must hold more than {index} addresses, got {text}")
    return str(network[index])


def uses_host_content(config: Config) -> bool:
    """Whether the machine's own programs run, not those of the runtime image."""
    return config.text("content") == HOST_CONTENT


def foreign_containerd(config: Config) -> str:
    """The socket of the containerd that is there already and that pods run in; "" for our own."""
    endpoint = config.text("container-runtime-endpoint")
    return grammar.containerd_socket(endpoint) if endpoint else ""


def containerd_socket(config: Config) -> str:
    """The socket of the containerd that pods run in."""
    return foreign_containerd(config) or CONTAINERD_SOCKET


def runs(config: Config, component: str) -> bool:
    """Whether this server is to run a component (`kube-scheduler`): it is, unless it was disabled."""
    return not config.boolean(DISABLED_BY[component])


@dataclass(frozen=True)
class ServerRoles:
    """What a server is for: a member of etcd, a control plane (kube-apiserver), or both."""

    etcd: bool
    control_plane: bool

    @property
    def split(self) -> bool:
        return not (self.etcd and self.control_plane)


def server_roles(config: Config) -> ServerRoles:
    """The roles of this server, none of an agent. ConfigurationError for a server that has none."""
    if config.role is not Role.SERVER:
        return ServerRoles(etcd=False, control_plane=False)
    roles = ServerRoles(runs(config, unit_names.ETCD), runs(config, unit_names.KUBE_APISERVER))
    no_etcd, no_apiserver = DISABLED_BY[unit_names.ETCD], DISABLED_BY[unit_names.KUBE_APISERVER]
    if not roles.etcd and not roles.control_plane:
        raise config.error(
            no_etcd,
            f"cannot be true beside {no_apiserver}: nothing of a server would be left",
            hint="install it as an agent: rke2-units install --role agent",
        )
    if not roles.etcd and not config.is_set("server"):
        raise config.error(
            no_etcd,
            "needs a server that has etcd, and rke2-units runs no other datastore",
            hint="set server to the URL of a server with etcd, or leave it out",
        )
    return roles


def snapshot_directory(config: Config) -> str:
    """The folder of etcd's snapshots on this server."""
    given = config.text("etcd-snapshot-dir")
    return grammar.directory(given) if given else paths(config).snapshots


def supervisor_proxy_port(config: Config) -> int:
    """The port on an agent's loopback address that leads to every server's supervisor."""
    return config.number("lb-server-port")


def apiserver_proxy_port(config: Config) -> int:
    """The port on a node's loopback address that leads to every kube-apiserver.

    On an agent RKE2's rule; on a server without kube-apiserver its own place, where all of a server looks.
    """
    if config.role is Role.SERVER:
        return ports.APISERVER_PORT
    return supervisor_proxy_port(config) - 1
