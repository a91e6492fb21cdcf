"""The digest by which the daemon knows whether a process was started with what the plan says."""

import re
from dataclasses import replace

from rke2_units import names
from rke2_units.config.config import Config
from rke2_units.config.registries import parse
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from tests.unit.plan.cases import CASES, MACHINE

PASSWORD = """
configs:
  registry.example:5000:
    auth: {username: node, password: %s}
"""


def containerd_digest(config: Config, key: str) -> str:
    plan = make_plan(CASES["server"].role, config, replace(MACHINE, digest_key=key), release(DEFAULT))
    unit = plan.file(f"{names.UNIT_DIRECTORY}/{names.CONTAINERD_UNIT}").content
    [digest] = re.findall("^Environment=RKE2_UNITS_DIGEST=(.+)$", unit, re.MULTILINE)
    return str(digest)


def with_password(password: str) -> Config:
    return replace(CASES["server"].config(), registries=parse(PASSWORD % password, "registries.yaml"))


def test_a_changed_password_changes_the_digest() -> None:
    assert containerd_digest(with_password("one"), "key") != containerd_digest(with_password("two"), "key")


def test_nobody_can_try_passwords_without_the_nodes_key() -> None:
    assert containerd_digest(with_password("one"), "key") != containerd_digest(with_password("one"), "other")
