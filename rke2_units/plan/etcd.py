"""etcd's configuration file, and the initial values of its cluster."""

import re
from collections.abc import Iterator, Mapping

from rke2_units import ports, unit_names
from rke2_units.config import arguments as config_arguments
from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import File
from rke2_units.plan import addresses, image_programs, yaml_text
from rke2_units.plan.node import Node
from rke2_units.release import features

_PROGRESS_NOTIFY_NANOSECONDS = 5_000_000_000

# What etcd's file (embed.Config) wants as text though it may look like a number, and what as a list.
_TEXTS = frozenset(("auto-compaction-retention", "name", "initial-cluster-token"))
_LISTS = frozenset(("cipher-suites", "log-outputs"))
# Rejected arguments, which would contradict etcd's mounts, its membership or its addresses: why, and what to
# do instead. {data} stands for the folder of its data.
_ELSEWHERE = (
    "etcd's data must be in {data}: its pod mounts that folder, and it identifies this server as a member",
    "remove it; to use a separate disk, mount it at {data} before the first start",
)
_BY_US = ("rke2-units itself makes this server a member of its cluster's etcd", "remove it")
_ADDRESS = ("servers find each other's etcd at the first node-ip", "remove it, and set node-ip")
_CERTIFICATE = (
    "etcd's clients expect certificates of the cluster's own authorities",
    "remove it",
)
_REFUSED = {
    "data-dir": _ELSEWHERE,
    "wal-dir": _ELSEWHERE,
    "config-file": ("rke2-units writes etcd's configuration file", "give its settings as etcd-arg"),
    "advertise-client-urls": _ADDRESS,
    "initial-advertise-peer-urls": _ADDRESS,
    **dict.fromkeys(
        (
            "name",
            "initial-cluster",
            "initial-cluster-state",
            "force-new-cluster",
            "proxy",
            "discovery",
            "discovery-config",
            "discovery-dns-cluster",
            "discovery-endpoints",
            "discovery-fallback",
            "discovery-proxy",
            "discovery-srv",
            "discovery-srv-name",
            "discovery-token",
        ),
        _BY_US,
    ),
    **dict.fromkeys(
        (
            "client-transport-security",
            "peer-transport-security",
            *(
                f"{peer}{name}"
                for peer in ("", "peer-")
                for name in ("auto-tls", "cert-file", "client-cert-auth", "key-file", "trusted-ca-file")
            ),
        ),
        _CERTIFICATE,
    ),
}
# The addresses at which this project's programs reach etcd; there may be more.
_ASKED = ("listen-client-urls", "listen-peer-urls", "listen-metrics-urls")
_URL = re.compile(r"(https?)://(\[[0-9a-fA-F:.]+\]|[^:/\[\]]+):([0-9]{1,5})/?")

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def files(node: Node) -> list[File]:
    """The configuration file, owned by the user that etcd runs as."""
    user, group = owner(node)
    return [
        File(
            node.paths.etcd_config,
            yaml_text.document(settings(node)),
            0o600,
            user,
            group,
            restarts=(unit_names.static_pod_unit(unit_names.ETCD),),
        )
    ]


def owner(node: Node) -> tuple[int, int]:
    """User and group that etcd runs as: its own with a profile, else root."""
    return (node.facts.etcd_user or (0, 0)) if derived.has_profile(node.config) else (0, 0)


def member_name(node: Node) -> str:
    """This member's name; a stand-in as long as it has none."""
    return node.facts.etcd_member_name or f"{node.name}-00000000"


def peer_url(node: Node) -> str:
    """Where the other members reach this one."""
    return addresses.url("https", addresses.node_ips(node)[0], ports.ETCD_PEER_PORT)


def initial(node: Node) -> dict[str, str]:
    """The values that make a new member part of its cluster; etcd ignores them once it has data."""
    peer = peer_url(node)
    return {
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{member_name(node)}={peer}",
        "initial-cluster-state": "new",
        **node.facts.etcd_initial,
    }


def join_settings(node: Node) -> dict[str, str]:
    """What rke2-etcd-join.service has to know to become a member of the cluster of `server`."""
    paths = node.paths
    return {
        "server": node.config.text("server"),
        "server_authority": f"{paths.tls}/server-ca.crt",
        "token_file": paths.token,
        "member_name": member_name(node),
        "peer_url": peer_url(node),
        "initial": paths.etcd_initial,
        "etcdctl": image_programs.etcdctl(node).path,
        "authority": f"{paths.etcd_tls}/server-ca.crt",
        "certificate": f"{paths.etcd_tls}/client.crt",
        "key": f"{paths.etcd_tls}/client.key",
    }


def settings(node: Node) -> dict[str, object]:
    """The configuration as data: RKE2's keys that this etcd knows, and the user's etcd-arg."""
    known = _defaults(node)
    return known | _extra(node.config, known)


def _defaults(node: Node) -> dict[str, object]:
    paths = node.paths
    address = addresses.node_ips(node)[0]
    metrics = [addresses.url("http", addresses.LOOPBACK, ports.ETCD_METRICS_PORT)]
    if node.config.boolean("etcd-expose-metrics"):
        metrics.append(addresses.url("http", address, ports.ETCD_METRICS_PORT))
    values: dict[str, object] = {
        "name": member_name(node),
        "data-dir": paths.etcd_data,
        "listen-client-urls": _listen(address, ports.ETCD_CLIENT_PORT),
        "listen-peer-urls": _listen(address, ports.ETCD_PEER_PORT),
        "listen-client-http-urls": addresses.url("https", addresses.LOOPBACK, ports.ETCD_HTTP_PORT),
        "listen-metrics-urls": ",".join(metrics),
        "advertise-client-urls": addresses.url("https", address, ports.ETCD_CLIENT_PORT),
        **initial(node),
        "client-transport-security": _transport(
            f"{paths.etcd_tls}/server-client", f"{paths.etcd_tls}/server-ca"
        ),
        "peer-transport-security": _transport(
            f"{paths.etcd_tls}/peer-server-client", f"{paths.etcd_tls}/peer-ca"
        ),
        "heartbeat-interval": 500,
        "election-timeout": 5000,
        "snapshot-count": 10000,
        "experimental-initial-corrupt-check": True,
        "feature-gates": "InitialCorruptCheck=true",
        "experimental-watch-progress-notify-interval": _PROGRESS_NOTIFY_NANOSECONDS,
        "watch-progress-notify-interval": _PROGRESS_NOTIFY_NANOSECONDS,
        "logger": "zap",
        "log-outputs": ["stderr"],
        "socket-options": {"reuse-address": True, "reuse-port": True},
    }
    return {key: value for key, value in values.items() if features.has_etcd_key(node.release, key)}


def problems(node: Node) -> list[ConfigurationError]:
    """What the user cannot give etcd, all of it: no part of this project would find its data or reach it."""
    config, paths = node.config, node.paths
    known = _defaults(node)
    extra = _extra(config, known)
    found = [
        _argument_error(config, key, *(text.format(data=paths.etcd_data) for text in _REFUSED[key]))
        for key in extra
        if key in _REFUSED
    ]
    return [*found, *_unheard(config, known, extra), *_mounts_over_data(config, paths)]


def _unheard(
    config: Config, known: Mapping[str, object], extra: Mapping[str, object]
) -> Iterator[ConfigurationError]:
    for key in _ASKED:
        offered = [_URL.fullmatch(text) for text in str(extra.get(key, known[key])).split(",")]
        for asked in str(known[key]).split(","):
            if not any(_reaches(url, asked) for url in offered if url):
                yield _argument_error(
                    config,
                    key,
                    f"etcd would not answer at {asked}",
                    f"add a URL and keep the default ones: {key}+=URL",
                )


def _reaches(url: re.Match[str], asked: str) -> bool:
    wanted = _URL.fullmatch(asked)
    assert wanted is not None  # noqa: S101 - one of our own
    anywhere = ("[::]",) if wanted[2].startswith("[") else ("0.0.0.0", "[::]")
    return (url[1], url[3]) == (wanted[1], wanted[3]) and url[2] in (wanted[2], *anywhere)


def _mounts_over_data(config: Config, paths: Paths) -> Iterator[ConfigurationError]:
    for index, mount in enumerate(derived.extra_mounts(config, unit_names.ETCD)):
        is_over = f"{mount.destination.rstrip('/')}/".startswith(f"{paths.etcd_data}/")
        if is_over and mount.source.rstrip("/") != mount.destination.rstrip("/"):
            yield config.error(
                "etcd-extra-mount",
                f"must not put {mount.source} over etcd's data in {paths.etcd_data}",
                index=index,
                hint=f"mount the disk itself at {paths.etcd_data} before the first start",
            )


def _argument_error(config: Config, key: str, why: str, hint: str) -> ConfigurationError:
    named = [_key(item) for item in config.items("etcd-arg")]
    index = len(named) - 1 - named[::-1].index(key)
    return config.error("etcd-arg", f"{key} cannot be used: {why}", index=index, hint=hint)


def _key(item: str) -> str:
    return grammar.argument(item)[0].rstrip("+-")


def _extra(config: Config, known: Mapping[str, object]) -> dict[str, object]:
    """The user's arguments, merged with ours where they add to one, as values of the file."""
    named = {key: value for key, value in known.items() if isinstance(value, str)}
    named |= {key: ",".join(value) for key, value in known.items() if isinstance(value, list)}
    merged = config_arguments.merge_values(named, config.items("etcd-arg"))
    return {
        key: typed(key, ",".join(values)) for key, values in merged.items() if [named.get(key)] != values
    }


def typed(key: str, value: str) -> object:
    """A command line's value as etcd's configuration file wants it: durations are nanoseconds there."""
    if key in _TEXTS:
        return value
    if key in _LISTS:
        # RKE2's users write them as a YAML list, a command line has commas.
        items = value.removeprefix("[").removesuffix("]").split(",")
        return [item.strip(" '\"") for item in items]
    if value in ("true", "false"):
        return value == "true"
    if _NUMBER.fullmatch(value):
        return int(value)
    if _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        return sum(round(float(count) * _NANOSECONDS[unit]) for count, unit in parts)
    return value


def _listen(address: str, port: int) -> str:
    return ",".join(addresses.url("https", each, port) for each in (addresses.LOOPBACK, address))


def _transport(certificate: str, authority: str) -> dict[str, object]:
    return {
        "cert-file": f"{certificate}.crt",
        "key-file": f"{certificate}.key",
        "client-cert-auth": True,
        "trusted-ca-file": f"{authority}.crt",
    }
