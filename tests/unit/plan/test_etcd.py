from dataclasses import replace
from typing import Any

import pytest
import yaml

from rke2_units import unit_names
from rke2_units.config.yaml_file import parse
from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts, ServerList
from rke2_units.plan import etcd, make_plan
from rke2_units.plan.node import Node
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from tests.unit.configs import make_config, of_files
from tests.unit.plan.cases import JOINING, MACHINE, make_node

NEW = release(DEFAULT)


def read(values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = NEW) -> Any:
    [file] = etcd.files(make_node(values, facts, of))
    return yaml.safe_load(file.content)


def test_the_file_replaces_the_etcd_pod_and_no_one_else_reads_it() -> None:
    [file] = etcd.files(make_node())
    assert file.path == Paths().etcd_config
    assert file.restarts == (unit_names.static_pod_unit(unit_names.ETCD),)
    assert (file.mode, file.user, file.group) == (0o600, 0, 0)


def test_with_a_profile_the_file_belongs_to_etcds_user() -> None:
    facts = replace(MACHINE, etcd_user=(998, 997))
    [file] = etcd.files(make_node({"profile": "etcd"}, facts))
    assert (file.user, file.group) == (998, 997)
    [file] = etcd.files(make_node({}, facts))
    assert (file.user, file.group) == (0, 0)


def test_clients_and_peers_have_to_show_a_certificate_and_only_loopback_has_metrics() -> None:
    found = read()
    assert found["listen-client-urls"] == "https://127.0.0.1:2379,https://192.0.2.10:2379"
    assert found["listen-peer-urls"] == "https://127.0.0.1:2380,https://192.0.2.10:2380"
    assert found["listen-metrics-urls"] == "http://127.0.0.1:2381"
    for side in ("client-transport-security", "peer-transport-security"):
        assert found[side]["client-cert-auth"] is True


def test_metrics_are_exposed_when_asked_for() -> None:
    urls = read({"etcd-expose-metrics": True})["listen-metrics-urls"]
    assert urls == "http://127.0.0.1:2381,http://192.0.2.10:2381"


def test_an_ipv6_address_is_written_in_brackets() -> None:
    found = read(facts=replace(MACHINE, node_ips=("2001:db8::10",)))
    assert found["advertise-client-urls"] == "https://[2001:db8::10]:2379"
    assert found["initial-cluster"] == "node1-1a2b3c4d=https://[2001:db8::10]:2380"


def test_a_member_without_a_name_has_a_stand_in() -> None:
    assert read(facts=replace(MACHINE, etcd_member_name=None))["name"] == "node1-00000000"


@pytest.mark.parametrize(
    ("version", "has", "lacks"),
    [
        (
            (3, 4, 23),
            ["experimental-initial-corrupt-check", "experimental-watch-progress-notify-interval"],
            ["listen-client-http-urls", "socket-options", "feature-gates"],
        ),
        (
            (3, 5, 16),
            ["experimental-initial-corrupt-check", "listen-client-http-urls", "socket-options"],
            ["feature-gates", "watch-progress-notify-interval"],
        ),
        (
            (3, 6, 14),
            ["feature-gates", "watch-progress-notify-interval", "listen-client-http-urls"],
            ["experimental-initial-corrupt-check", "experimental-watch-progress-notify-interval"],
        ),
    ],
)
def test_each_etcd_is_given_the_keys_that_it_knows(
    version: tuple[int, int, int], has: list[str], lacks: list[str]
) -> None:
    found = read(of=replace(NEW, etcd=version))
    assert set(has) <= found.keys()
    assert not set(lacks) & found.keys()


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("quota-backend-bytes=8589934592", "quota-backend-bytes", 8589934592),
        ("--snapshot-count=5000", "snapshot-count", 5000),
        ("auto-compaction-retention=8", "auto-compaction-retention", "8"),
        ("auto-compaction-mode=revision", "auto-compaction-mode", "revision"),
        ("pre-vote=false", "pre-vote", False),
        ("enable-pprof", "enable-pprof", True),
        ("grpc-keepalive-timeout=1m30s", "grpc-keepalive-timeout", 90_000_000_000),
        ("backend-batch-interval=1.5ms", "backend-batch-interval", 1_500_000),
        ("cipher-suites=A,B", "cipher-suites", ["A", "B"]),
        ("cipher-suites=[A, 'B']", "cipher-suites", ["A", "B"]),
        ("log-outputs=[stderr]", "log-outputs", ["stderr"]),
        ("log-level=debug", "log-level", "debug"),
        ("feature-gates+=X=true", "feature-gates", "InitialCorruptCheck=true,X=true"),
        ("listen-metrics-urls=http://0.0.0.0:2381", "listen-metrics-urls", "http://0.0.0.0:2381"),
        ("log-outputs+=/var/log/etcd.log", "log-outputs", ["stderr", "/var/log/etcd.log"]),
    ],
)
def test_extra_arguments_become_values_as_etcds_file_wants_them(
    argument: str, key: str, value: object
) -> None:
    found = read({"etcd-arg": [argument]})
    assert found[key] == value
    assert type(found[key]) is type(value)
    assert found.keys() - {key} == read().keys() - {key}


def problems(values: dict[str, object], facts: NodeFacts = MACHINE) -> list[str]:
    """As the plan tells them: where it makes one, etcd gets these values."""
    config = make_config(Role.SERVER, values)
    try:
        make_plan(Role.SERVER, config, facts, NEW)
    except ConfigurationError as error:
        return [str(each) for each in error.each()]
    return []


DATA = "/var/lib/rancher/rke2/server/db/etcd"
_ELSEWHERE = (
    f"cannot be used: etcd's data must be in {DATA}: its pod mounts that folder, and it identifies this "
    f"server as a member (remove it; to use a separate disk, mount it at {DATA} before the first start)"
)


@pytest.mark.parametrize("facts", [MACHINE, replace(MACHINE, etcd_join=True)], ids=["alone", "joining"])
def test_etcds_data_and_name_cannot_move_away_from_what_knows_them(facts: NodeFacts) -> None:
    assert problems({"etcd-arg": ["data-dir=/data/etcd"]}, facts) == [
        f"test: etcd-arg data-dir {_ELSEWHERE}"
    ]
    assert problems({"etcd-arg": ["wal-dir=/data/wal", "name=vegetable"]}, facts) == [
        "test: etcd-arg name cannot be used: rke2-units itself makes this server a member of its cluster's "
        "etcd (remove it)",
        f"test: etcd-arg wal-dir {_ELSEWHERE}",
    ]


def test_a_refused_argument_names_its_own_line() -> None:
    text = "etcd-arg:\n- max-txn-ops=5\n- --wal-dir=/data/wal\n- snapshot-count=9\n"
    node = Node(of_files(Role.SERVER, [parse(text.encode(), "f")]), MACHINE, NEW)
    assert [str(each)[:21] for each in etcd.problems(node)] == ["f:3: etcd-arg wal-dir"]


@pytest.mark.parametrize(
    "argument",
    [
        "initial-cluster=a=https://192.0.2.1:2380",
        "initial-cluster+=a=https://192.0.2.1:2380",
        "initial-cluster-state=existing",
        "initial-advertise-peer-urls=https://198.51.100.1:2380",
        "advertise-client-urls=https://198.51.100.1:2379",
        "force-new-cluster",
        "discovery-srv=example.com",
        "config-file=/etc/etcd.yaml",
        "cert-file=/etc/a.crt",
        "peer-trusted-ca-file=/etc/a.crt",
        "client-cert-auth=false",
        "auto-tls",
        # Nobody of ours would get an answer there.
        "listen-client-urls=https://192.0.2.10:2379",
        "listen-client-urls=http://0.0.0.0:2379",
        "listen-client-urls=https://0.0.0.0:12379",
        "listen-peer-urls=https://192.0.2.10:2380",
        "listen-metrics-urls=http://192.0.2.10:2381",
        "listen-metrics-urls=",
    ],
)
def test_what_takes_etcd_out_of_reach_is_refused(argument: str) -> None:
    key = argument.partition("=")[0].rstrip("+")
    [problem] = dict.fromkeys(line[:40] for line in problems({"etcd-arg": [argument]}))
    assert problem.startswith(f"test: etcd-arg {key} cannot be used: "[:40])


@pytest.mark.parametrize(
    "argument",
    [
        "quota-backend-bytes=8589934592",
        "heartbeat-interval=300",
        "election-timeout=3000",
        "auto-compaction-mode=periodic",
        "auto-compaction-retention=1h",
        "snapshot-count=5000",
        "max-request-bytes=10485760",
        "max-wals=3",
        "log-level=warn",
        "experimental-compact-hash-check-enabled=true",
        "initial-cluster-token=mine",
        "unsafe-no-fsync",
        "metrics=extensive",
        "listen-metrics-urls=http://0.0.0.0:2381",
        "listen-metrics-urls=http://127.0.0.1:2381,http://192.0.2.10:2381",
        "listen-metrics-urls+=http://198.51.100.1:2381",
        "listen-client-urls=https://[::]:2379",
        "listen-peer-urls-=https://198.51.100.1:2380",
        # As it is anyway.
        f"data-dir={DATA}",
    ],
)
def test_what_users_of_rke2_give_etcd_is_passed_on(argument: str) -> None:
    assert problems({"etcd-arg": [argument]}) == []


@pytest.mark.parametrize(
    ("mount", "refused"),
    [
        (f"/data/etcd:{DATA}", True),
        (f"/data/etcd:{DATA}/", True),
        (f"/data/wal:{DATA}/member/wal", True),
        (f"{DATA}:{DATA}", False),
        ("/data:/data", False),
        (f"/data:{DATA}-2", False),
    ],
)
def test_no_mount_may_hide_etcds_data(mount: str, refused: bool) -> None:
    assert bool(problems({"etcd-extra-mount": [mount]})) == refused


def test_who_has_no_etcd_is_not_asked_about_it() -> None:
    values: dict[str, object] = {**JOINING, "disable-etcd": True, "etcd-arg": ["data-dir=/data/etcd"]}
    assert problems(values, replace(MACHINE, known_servers=ServerList(members=("192.0.2.9:2379",)))) == []
