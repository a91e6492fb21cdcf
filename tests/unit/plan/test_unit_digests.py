"""The digest by which the daemon knows whether a process was started with what the plan says."""

import re
from dataclasses import replace

import pytest

from rke2_units import layout
from rke2_units.config.config import Config
from rke2_units.config.registries import parse
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import (
    APPLIER_UNIT,
    CONTAINERD_UNIT,
    KUBELET_UNIT,
)
from tests.unit.plan.cases import CASES, MACHINE

PASSWORD = """
configs:
  registry.example:5000:
    auth: {username: node, password: %s}
"""


def digest(unit: str, config: Config, facts: NodeFacts) -> str:
    plan = make_plan(CASES["server"].role, config, facts, release(DEFAULT))
    text = plan.file(f"{layout.UNIT_DIRECTORY}/{unit}").content
    [found] = re.findall("^Environment=RKE2_UNITS_DIGEST=(.+)$", text, re.MULTILINE)
    return str(found)


def containerd_digest(config: Config, key: str) -> str:
    return digest(CONTAINERD_UNIT, config, replace(MACHINE, digest_key=key))


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
        (f"{PATHS.kubelet_etc}/50-own.conf", KUBELET_UNIT),
        (PROVIDERS, KUBELET_UNIT),
        (f"{PATHS.containerd_drop_ins[2]}/own.toml", CONTAINERD_UNIT),
        (f"{PATHS.containerd_drop_ins[3]}/own.toml", CONTAINERD_UNIT),
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
    for each in (KUBELET_UNIT, CONTAINERD_UNIT, APPLIER_UNIT):
        assert (digest(each, config, first) != digest(each, config, second)) is (each == unit)


def test_our_own_files_on_disk_are_no_reason_to_replace_who_reads_them() -> None:
    config = CASES["server"].config()
    before = replace(MACHINE, digests={**MACHINE.digests, PATHS.kubelet_config: "1" * 64})
    assert digest(KUBELET_UNIT, config, before) == digest(KUBELET_UNIT, config, MACHINE)


def test_changed_proxies_replace_whoever_fetches_through_them() -> None:
    config = CASES["server"].config()
    with_proxy = replace(MACHINE, environment={"HTTPS_PROXY": "http://proxy.example"})
    for unit in (KUBELET_UNIT, CONTAINERD_UNIT, APPLIER_UNIT):
        assert digest(unit, config, with_proxy) != digest(unit, config, MACHINE)
