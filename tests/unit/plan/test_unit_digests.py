"""The digest by which the daemon knows whether a process was started with what the plan says."""

import re
from dataclasses import replace

import pytest

from rke2_units import names
from rke2_units.config.config import Config
from rke2_units.config.registries import parse
from rke2_units.model import NodeFacts
from rke2_units.names import Paths
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from tests.unit.plan.cases import CASES, MACHINE

PASSWORD = """
configs:
  registry.example:5000:
    auth: {username: node, password: %s}
"""


def digest(unit: str, config: Config, facts: NodeFacts) -> str:
    plan = make_plan(CASES["server"].role, config, facts, release(DEFAULT))
    text = plan.file(f"{names.UNIT_DIRECTORY}/{unit}").content
    [found] = re.findall("^Environment=RKE2_UNITS_DIGEST=(.+)$", text, re.MULTILINE)
    return str(found)


def containerd_digest(config: Config, key: str) -> str:
    return digest(names.CONTAINERD_UNIT, config, replace(MACHINE, digest_key=key))


def with_password(password: str) -> Config:
    return replace(CASES["server"].config(), registries=parse(PASSWORD % password, "registries.yaml"))


def test_a_changed_password_changes_the_digest() -> None:
    assert containerd_digest(with_password("one"), "key") != containerd_digest(with_password("two"), "key")


def test_nobody_can_try_passwords_without_the_nodes_key() -> None:
    assert containerd_digest(with_password("one"), "key") != containerd_digest(with_password("one"), "other")


PROVIDERS = "/var/lib/rancher/credentialprovider/config.yaml"
PATHS = Paths()


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"{PATHS.kubelet_etc}/50-own.conf", names.KUBELET_UNIT),
        (PROVIDERS, names.KUBELET_UNIT),
        (f"{PATHS.containerd_drop_ins[2]}/own.toml", names.CONTAINERD_UNIT),
        (f"{PATHS.containerd_drop_ins[3]}/own.toml", names.CONTAINERD_UNIT),
    ],
)
def test_a_changed_file_of_the_administrators_replaces_who_reads_it_and_nobody_else(
    path: str, unit: str
) -> None:
    config = CASES["server"].config()
    first, second = (
        replace(MACHINE, has_credential_providers=True, digests={**MACHINE.digests, path: content})
        for content in ("1" * 64, "2" * 64)
    )
    for each in (names.KUBELET_UNIT, names.CONTAINERD_UNIT, names.APPLIER_UNIT):
        assert (digest(each, config, first) != digest(each, config, second)) is (each == unit)


def test_our_own_files_on_disk_are_no_reason_to_replace_who_reads_them() -> None:
    config = CASES["server"].config()
    before = replace(MACHINE, digests={**MACHINE.digests, PATHS.kubelet_config: "1" * 64})
    assert digest(names.KUBELET_UNIT, config, before) == digest(names.KUBELET_UNIT, config, MACHINE)


def test_changed_proxies_replace_whoever_fetches_through_them() -> None:
    config = CASES["server"].config()
    with_proxy = replace(MACHINE, environment={"HTTPS_PROXY": "http://proxy.example"})
    for unit in (names.KUBELET_UNIT, names.CONTAINERD_UNIT, names.APPLIER_UNIT):
        assert digest(unit, config, with_proxy) != digest(unit, config, MACHINE)
