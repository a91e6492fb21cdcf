from dataclasses import replace
from typing import Any

import pytest
import yaml

from rke2_units import names
from rke2_units.config.load import make_config
from rke2_units.model import NodeFacts
from rke2_units.names import Paths, Role
from rke2_units.plan import etcd
from rke2_units.release.model import Release
from rke2_units.release.table import DEFAULT, release
from tests.unit.plan.cases import MACHINE

NEW = release(DEFAULT)


def read(values: dict[str, object] | None = None, facts: NodeFacts = MACHINE, of: Release = NEW) -> Any:
    [file] = etcd.files(make_config(Role.SERVER, values or {}), facts, of)
    return yaml.safe_load(file.content)


def test_the_file_replaces_the_etcd_pod_and_no_one_else_reads_it() -> None:
    [file] = etcd.files(make_config(Role.SERVER, {}), MACHINE, NEW)
    assert file.path == Paths().etcd_config
    assert file.restarts == (names.static_pod_unit(names.ETCD),)
    assert (file.mode, file.user, file.group) == (0o600, 0, 0)


def test_with_a_profile_the_file_belongs_to_etcds_user() -> None:
    facts = replace(MACHINE, etcd_user=(998, 997))
    [file] = etcd.files(make_config(Role.SERVER, {"profile": "etcd"}), facts, NEW)
    assert (file.user, file.group) == (998, 997)
    [file] = etcd.files(make_config(Role.SERVER, {}), facts, NEW)
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
    ],
)
def test_extra_arguments_become_values_as_etcds_file_wants_them(
    argument: str, key: str, value: object
) -> None:
    found = read({"etcd-arg": [argument]})
    assert found[key] == value
    assert type(found[key]) is type(value)
    assert found.keys() - {key} == read().keys() - {key}
