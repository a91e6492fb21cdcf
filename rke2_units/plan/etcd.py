"""etcd's configuration file, and the initial values of its cluster."""

import re
from collections.abc import Mapping

from rke2_units import names
from rke2_units.config import arguments as config_arguments
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.model import File, NodeFacts
from rke2_units.names import Paths
from rke2_units.plan import addresses, yaml_text
from rke2_units.plan.etcdctl import etcdctl
from rke2_units.release import features
from rke2_units.release.model import Release

_PROGRESS_NOTIFY_NANOSECONDS = 5_000_000_000

# What etcd's file (embed.Config) wants as text though it may look like a number, and what as a list.
_TEXTS = frozenset(("auto-compaction-retention", "name", "initial-cluster-token"))
_LISTS = frozenset(("cipher-suites", "log-outputs"))
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


def files(config: Config, facts: NodeFacts, release: Release) -> list[File]:
    """The configuration file, owned by the user that etcd runs as."""
    paths = Paths(derived.data_directory(config))
    user, group = owner(config, facts)
    return [
        File(
            paths.etcd_config,
            yaml_text.document(settings(config, facts, release)),
            0o600,
            user,
            group,
            restarts=(names.static_pod_unit(names.ETCD),),
        )
    ]


def owner(config: Config, facts: NodeFacts) -> tuple[int, int]:
    """User and group that etcd runs as: its own with a profile, else root."""
    return (facts.etcd_user or (0, 0)) if config.text("profile") else (0, 0)


def member_name(config: Config, facts: NodeFacts) -> str:
    """This member's name; a stand-in as long as it has none."""
    return facts.etcd_member_name or f"{derived.node_name(config, facts)}-00000000"


def peer_url(config: Config, facts: NodeFacts) -> str:
    """Where the other members reach this one."""
    return addresses.url("https", addresses.node_ips(config, facts)[0], names.ETCD_PEER_PORT)


def initial(config: Config, facts: NodeFacts) -> dict[str, str]:
    """The values that make a new member part of its cluster; etcd ignores them once it has data."""
    peer = peer_url(config, facts)
    return {
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{member_name(config, facts)}={peer}",
        "initial-cluster-state": "new",
        **facts.etcd_initial,
    }


def join_settings(config: Config, facts: NodeFacts, release: Release) -> dict[str, str]:
    """What rke2-etcd-join.service has to know to become a member of the cluster of `server`."""
    paths = Paths(derived.data_directory(config))
    return {
        "server": config.text("server"),
        "server_authority": f"{paths.tls}/server-ca.crt",
        "token_file": paths.token,
        "member_name": member_name(config, facts),
        "peer_url": peer_url(config, facts),
        "initial": paths.etcd_initial,
        "etcdctl": etcdctl(config, release).path,
        "authority": f"{paths.etcd_tls}/server-ca.crt",
        "certificate": f"{paths.etcd_tls}/client.crt",
        "key": f"{paths.etcd_tls}/client.key",
    }


def settings(config: Config, facts: NodeFacts, release: Release) -> dict[str, object]:
    """The configuration as data: RKE2's keys that this etcd knows, and the user's etcd-arg."""
    paths = Paths(derived.data_directory(config))
    address = addresses.node_ips(config, facts)[0]
    metrics = [addresses.url("http", addresses.LOOPBACK, names.ETCD_METRICS_PORT)]
    if config.boolean("etcd-expose-metrics"):
        metrics.append(addresses.url("http", address, names.ETCD_METRICS_PORT))
    values: dict[str, object] = {
        "name": member_name(config, facts),
        "data-dir": paths.etcd_data,
        "listen-client-urls": _listen(address, names.ETCD_CLIENT_PORT),
        "listen-peer-urls": _listen(address, names.ETCD_PEER_PORT),
        "listen-client-http-urls": addresses.url("https", addresses.LOOPBACK, names.ETCD_HTTP_PORT),
        "listen-metrics-urls": ",".join(metrics),
        "advertise-client-urls": addresses.url("https", address, names.ETCD_CLIENT_PORT),
        **initial(config, facts),
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
    known = {key: value for key, value in values.items() if features.has_etcd_key(release, key)}
    return known | _extra(config.items("etcd-arg"), known)


def _extra(items: tuple[str, ...], known: Mapping[str, object]) -> dict[str, object]:
    """The user's arguments, merged with ours where they add to one, as values of the file."""
    named = {key: value for key, value in known.items() if isinstance(value, str)}
    merged = config_arguments.merge_values(named, items)
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
