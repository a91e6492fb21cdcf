"""What of the host a static pod sees: RKE2's sockets, folders and files, and the user's extra mounts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.plan import control_plane
from rke2_units.plan.node import Node
from rke2_units.unit_names import (
    CLOUD_CONTROLLER_MANAGER,
    ETCD,
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    KUBE_SCHEDULER,
)

FILE = "File"
_DIRECTORY = "DirectoryOrCreate"

_WITH_SSL_DIRECTORIES = (
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    CLOUD_CONTROLLER_MANAGER,
)
_WITH_MEMBER_NAME = (
    KUBE_APISERVER,
    KUBE_CONTROLLER_MANAGER,
    KUBE_SCHEDULER,
)
# Arguments whose absolute path is a folder, or a file that changes without the pod being replaced.
_NOT_MOUNTED = frozenset(
    ("cert-dir", "flex-volume-plugin-dir", "encryption-provider-config", "audit-log-path")
)


@dataclass(frozen=True)
class Mount:
    """A mount of a static pod; `type` is a hostPath type, None: whatever is there."""

    name: str
    source: str
    destination: str
    read_only: bool
    type: str | None


def plan_mounts(component: str, arguments: Iterable[str], node: Node) -> list[Mount]:
    """All mounts of a component with this command line: folders, files, then the user's.

    Each place in the container has one: the kubelet refuses a pod with two. ConfigurationError where a mount
    of the user's would hide what of the data directory a component works with.
    """
    config, paths = node.config, node.paths
    given = [argument.removeprefix("--").partition("=")[::2] for argument in arguments]
    defaults = control_plane.default_arguments(component, node)
    files = [
        *_own_files(component, config, paths),
        *sorted(set(_argument_files(given, defaults, node))),
    ]
    ours = [
        *(Mount("dir", path, path, False, _DIRECTORY) for path in _directories(component, given, node)),
        *(Mount("file", path, path, True, FILE) for path in files),
    ]
    # Of two at one place the first: a folder before what an argument calls a file.
    by_place: dict[str, Mount] = {}
    for mount in ours:
        by_place.setdefault(grammar.plain_path(mount.destination), mount)
    theirs = []
    for number, extra in enumerate(derived.extra_mounts(config, component)):
        place = grammar.plain_path(extra.destination)
        own = by_place.pop(place, None)
        same = own is not None and grammar.plain_path(extra.source) == grammar.plain_path(own.source)
        if own is not None and not same and place.startswith(f"{grammar.plain_path(paths.data)}/"):
            raise config.error(
                f"{component}-extra-mount",
                f"must not replace {place}: {component} gets it from the node's own {own.source}",
                index=number,
                hint="mount it at another place",
            )
        kind = own.type if own is not None and same else FILE if extra.source in node.facts.digests else None
        theirs.append(
            Mount(
                f"extra-mount-{number}",
                extra.source,
                extra.destination,
                extra.read_only,
                extra.type or kind,
            )
        )
    return [*_numbered(by_place.values()), *theirs]


def _numbered(mounts: Iterable[Mount]) -> Iterator[Mount]:
    """Named as RKE2 does: dir0, dir1, ..., file0, ..."""
    counts: Counter[str] = Counter()
    for mount in mounts:
        yield replace(mount, name=f"{mount.name}{counts[mount.name]}")
        counts[mount.name] += 1


def _directories(component: str, arguments: Iterable[tuple[str, str]], node: Node) -> list[str]:
    found = list(node.facts.ssl_directories) if component in _WITH_SSL_DIRECTORIES else []
    if component == ETCD:
        found.append(node.paths.etcd_data)
    if component == KUBE_APISERVER:
        logs = [value for name, value in arguments if name == "audit-log-path" and value.startswith("/")]
        found += [log.rpartition("/")[0] or "/" for log in logs]
        # The whole folder, so that replaced files are seen.
        found.append(node.paths.server)
    return list(dict.fromkeys(found))


def _own_files(component: str, config: Config, paths: Paths) -> list[str]:
    """Files that no argument names."""
    if component == ETCD:
        return [
            *(
                f"{paths.etcd_tls}/{name}"
                for name in ("server-client.crt", "server-client.key", "server-ca.crt")
            ),
            *(f"{paths.etcd_tls}/{name}" for name in ("peer-server-client.crt", "peer-server-client.key")),
            f"{paths.etcd_tls}/peer-ca.crt",
        ]
    if component in _WITH_MEMBER_NAME and derived.runs(config, ETCD):
        return [paths.etcd_name]
    return []


def _argument_files(
    arguments: Iterable[tuple[str, str]], defaults: Mapping[str, str], node: Node
) -> Iterator[str]:
    """Files that arguments name: our own are always there, the user's when they exist."""
    for name, value in arguments:
        if not value.startswith("/") or name in _NOT_MOUNTED:
            continue
        if value == defaults.get(name) or value in node.facts.digests:
            yield value
        if name == "kubeconfig":
            yield from _kubeconfig_files(value, node.paths)


def _kubeconfig_files(kubeconfig: str, paths: Paths) -> tuple[str, ...]:
    """The authority, certificate and key that one of our kubeconfigs names."""
    tls, agent = paths.tls, paths.agent
    identities = {
        f"{paths.credentials}/controller.kubeconfig": (tls, "client-controller"),
        f"{paths.credentials}/scheduler.kubeconfig": (tls, "client-scheduler"),
        paths.cloud_controller_kubeconfig: (tls, "client-rke2-cloud-controller"),
        paths.kube_proxy_kubeconfig: (agent, "client-kube-proxy"),
    }
    if kubeconfig not in identities:
        return ()
    folder, identity = identities[kubeconfig]
    return (f"{folder}/server-ca.crt", f"{folder}/{identity}.crt", f"{folder}/{identity}.key")
