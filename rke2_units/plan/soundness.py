"""Configuration that cannot work on this node, or is allowed but unwise."""

import ipaddress
from collections.abc import Iterator

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.config.keys import KEYS
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.plan import charts, cluster_ranges, etcd
from rke2_units.plan.node import Node

# Settings whose addresses are this machine's, and what else an address may be.
LISTENED_AT = {
    "node-ip": "an address that leads here from outside is a node-external-ip",
    "bind-address": None,
}
# What the kubelet says of its node once.
ONLY_WHEN_IT_REGISTERS = ("node-label", "node-taint")

# What may be set beside the Secret that has the rest of S3's configuration.
_BESIDE_SECRET = ("etcd-s3-config-secret", "etcd-s3-retention")

# Said of what a new cluster would be refused for.
KEPT = "a new cluster would be refused; this one keeps what it was made with"


def check(node: Node) -> tuple[str, ...]:
    """Warnings, one line each. ConfigurationError for what cannot work, all of it at once.

    What a cluster was made with stays as it is: there it is a warning.
    """
    errors = Collected()
    warnings = []
    for error in (*cluster_ranges.problems(node), *_domain(node.config)):
        if node.facts.in_cluster:
            warnings.append(f"{error.message} ({KEPT})")
        else:
            errors.add(error)
    if derived.server_roles(node.config).etcd:
        for error in etcd.problems(node):
            errors.add(error)
    errors.raise_any()
    return (
        *warnings,
        *_foreign_addresses(node),
        *_own_networks(node),
        *_unknown_names(node),
        *_registered(node),
        *_ignored_secret(node.config),
    )


def _domain(config: Config) -> Iterator[ConfigurationError]:
    try:
        grammar.subdomain(config.text("cluster-domain"))
    except ValueError as error:
        yield config.error("cluster-domain", f"must be {error}, got {config.text('cluster-domain')!r}")


def _foreign_addresses(node: Node) -> Iterator[str]:
    for name, hint in LISTENED_AT.items():
        for index, text in enumerate(node.config.items(name)):
            if text in node.facts.foreign_addresses:
                problem = f"{text} is on no interface of this machine: nothing can listen there"
                yield str(node.config.error(name, problem, index=index, hint=hint))


def _own_networks(node: Node) -> Iterator[str]:
    for name, index, network in cluster_ranges.of_machines_apart(node):
        for interface, text in node.facts.networks:
            own = ipaddress.ip_network(text)
            if own.version == network.version and own.overlaps(network):
                yield str(
                    cluster_ranges.error_of_range(
                        node.config,
                        name,
                        f"{network} overlaps with {own}, which this machine is connected to ({interface}): "
                        "addresses that are in both cannot be reached",
                        index,
                    )
                )


def _unknown_names(node: Node) -> Iterator[str]:
    manifests = node.facts.manifests
    if manifests is None:
        return
    for index, name in enumerate(node.config.items("disable")):
        if name in charts.PACKAGED or name in manifests:
            continue
        # Only for the warning: it is slow to load.
        import difflib

        close = difflib.get_close_matches(name, [*charts.PACKAGED, *manifests], n=1)
        yield str(
            node.config.error(
                "disable",
                f"names {name!r}, which is neither a packaged chart nor a file in server/manifests",
                index=index,
                hint=f"did you mean {close[0]}?" if close else None,
            )
        )


def _ignored_secret(config: Config) -> Iterator[str]:
    if not config.text("etcd-s3-config-secret"):
        return
    for key in KEYS:
        counts = key.name.startswith("etcd-s3-") and key.name not in _BESIDE_SECRET
        if counts and config.text(key.name) != key.default:
            yield str(
                config.error(
                    "etcd-s3-config-secret",
                    f"is ignored, because {key.name} is set ({config.source(key.name)})",
                    hint="keep one of them",
                )
            )
            return


def _registered(node: Node) -> Iterator[str]:
    for name, before in node.facts.registered.items():
        now = node.config.items(name)
        if set(now) == set(before):
            continue
        what = name.removeprefix("node-")
        gone = [f"{_key(item)}-" for item in before if _key(item) not in map(_key, now)]
        new = [item for item in now if item not in before]
        yield str(
            node.config.error(
                name,
                "has changed, but applies only at registration: this node is already registered",
                hint=f"kubectl {what} node {node.name} --overwrite {' '.join((*gone, *new))}",
            )
        )


def _key(item: str) -> str:
    """The key of a label, or key and effect of a taint: how `kubectl` names one to remove."""
    left, _, effect = item.partition(":")
    key = left.partition("=")[0]
    return f"{key}:{effect}" if effect else key
