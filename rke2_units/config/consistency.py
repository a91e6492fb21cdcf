"""How the values of keys must fit each other."""

import ipaddress
from collections.abc import Callable

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.errors import Collected
from rke2_units.unit_names import Role

# Quantities are floats here; 0.1 and 100m are the same one.
_ROUNDING = 1 + 1e-9


def check(config: Config) -> None:
    """ConfigurationError for keys that contradict each other; each of them alone is well-formed."""
    checks: list[Callable[[Config], object]] = [
        _addresses,
        _cloud_provider,
        _tokens,
        _resources,
        _static_pods,
        _profile,
    ]
    if config.role is Role.SERVER:
        checks += [_networks, _snapshots, derived.cni, derived.ingress_controllers]
    errors = Collected()
    for each in checks:
        with errors.collecting():
            each(config)
    errors.raise_any()


def _profile(config: Config) -> None:
    if config.text("profile") == "cis" and config.is_set("protect-kernel-defaults"):
        if not config.boolean("protect-kernel-defaults"):
            raise config.error("protect-kernel-defaults", "must not be false with profile cis")


def _snapshots(config: Config) -> None:
    etcd_data = derived.paths(config).etcd_data
    if f"{derived.snapshot_directory(config)}/".startswith(f"{etcd_data}/"):
        raise config.error("etcd-snapshot-dir", f"must not be in the folder of etcd's data, {etcd_data}")
    if not config.boolean("etcd-s3"):
        # AWS's variables may be there for another program.
        return
    keys = ("etcd-s3-access-key", "etcd-s3-secret-key")
    for one, other in (keys, keys[::-1], ("etcd-s3-session-token", keys[0])):
        if config.is_set(one) and not config.is_set(other):
            raise config.error(one, f"needs {other}")
    if not (config.is_set("etcd-s3-bucket") or config.is_set("etcd-s3-config-secret")):
        raise config.error("etcd-s3", "needs etcd-s3-bucket, or etcd-s3-config-secret")


def _networks(config: Config) -> None:
    clusters = [ipaddress.ip_network(text) for text in derived.cluster_cidrs(config)]
    services = [ipaddress.ip_network(text) for text in derived.service_cidrs(config)]
    if {network.version for network in clusters} != {network.version for network in services}:
        raise config.error("service-cidr", "must be of the same address families as cluster-cidr")
    servers = [grammar.address(text) for text in derived.cluster_dns(config)]
    derived.one_of_each(config, "cluster-dns", servers)
    derived.first_service_ip(config)


def _addresses(config: Config) -> None:
    for name in ("node-ip", "node-external-ip"):
        derived.one_of_each(config, name, [grammar.address(item) for item in config.items(name)])
    # kube-apiserver's goes into the Endpoints of the service kubernetes, which take no others either.
    for name in ("node-ip", "advertise-address"):
        for index, item in enumerate(config.items(name)):
            found = grammar.address(item)
            if found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local:
                raise config.error(
                    name, f"must be an address that other machines reach, got {item!r}", index=index
                )


def _cloud_provider(config: Config) -> None:
    if config.text("cloud-provider-config") and not config.text("cloud-provider-name"):
        raise config.error("cloud-provider-config", "needs cloud-provider-name")
    if config.items("node-external-ip") and config.text("cloud-provider-name"):
        raise config.error("node-external-ip", "cannot be used together with cloud-provider-name")


def _tokens(config: Config) -> None:
    for name in ("token", "agent-token"):
        if config.is_set(name) and config.is_set(f"{name}-file"):
            raise config.error(
                f"{name}-file",
                f"is set, and {name} as well ({config.source(name)})",
                hint="keep one of them",
            )


def _resources(config: Config) -> None:
    requests = derived.resource_requests(config)
    for component, limits in derived.resource_limits(config).items():
        for resource, limit in limits.items():
            request = requests[component].get(resource)
            if request is not None and grammar.quantity(request) > grammar.quantity(limit) * _ROUNDING:
                raise config.error(
                    "control-plane-resource-limits",
                    f"must not be below the requests: {component}-{resource} has a limit of {limit} "
                    f"and a request of {request}",
                    hint=f"control-plane-resource-requests: {component}-{resource}={limit}",
                )


def _static_pods(config: Config) -> None:
    for component in grammar.COMPONENTS:
        name = f"{component}-extra-mount"
        destinations = [
            grammar.plain_path(mount.destination) for mount in derived.extra_mounts(config, component)
        ]
        for index, destination in enumerate(destinations):
            if destination in destinations[:index]:
                raise config.error(
                    name, f"must mount each destination once, got {destination!r} twice", index=index
                )
