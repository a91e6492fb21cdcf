"""A start of a node that has started before changes no mode and no byte, at no point of it."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rke2_units.certificates import keys
from rke2_units.certificates.ensure import ensure
from rke2_units.certificates.node_request import make_request
from rke2_units.doors import files
from rke2_units.layout import Paths
from rke2_units.node.apply import apply
from rke2_units.node.installation import Installation
from rke2_units.plan import make_plan
from rke2_units.plan.node import Node
from rke2_units.release.table import DEFAULT, release
from rke2_units.unit_names import Role
from tests.unit.plan.cases import CASES, JOINING, MACHINE, Case

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVICE_ACCOUNT_KEY = keys.make_service_account_key()
NODES = {
    "server": CASES["server"],
    "profile cis": CASES["server-hardened"],
    "profile etcd": replace(CASES["server-hardened"], values={"profile": "etcd"}),
    "profile, no etcd": Case(
        Role.SERVER,
        {**JOINING, "disable-etcd": True, "profile": "cis"},
        replace(MACHINE, etcd_member_name=None, etcd_user=(998, 997)),
    ),
    "agent": CASES["agent"],
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RSA key takes long to make, and no test here loses power."""
    monkeypatch.setattr(keys, "make_service_account_key", lambda: SERVICE_ACCOUNT_KEY)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def start(node: Case, root: str) -> None:
    """What a start does with folders and files, in its order, below `root`."""
    config = node.config()
    request = make_request(Node(config, node.facts, release(DEFAULT)))
    ensure(
        replace(
            request,
            paths=Paths(files.below(root, request.paths.data)),
            node_directory=files.below(root, request.node_directory),
            kubeconfig_path=files.below(root, request.kubeconfig_path),
        ),
        NOW,
    )
    plan = make_plan(node.role, config, node.facts, release(DEFAULT))
    apply(plan, root, Installation(node.role, DEFAULT, request.paths.data))


def state(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """A mode that is changed and changed back leaves another time of change (st_ctime)."""
    found = {}
    for path in root.rglob("*"):
        about = path.lstat()
        found[str(path.relative_to(root))] = (about.st_ino, about.st_mode, about.st_uid, about.st_ctime_ns)
    return found


@pytest.mark.parametrize("name", NODES)
def test_the_second_of_two_starts_changes_nothing(name: str, tmp_path: Path) -> None:
    node = NODES[name]
    start(node, str(tmp_path))
    before = state(tmp_path)
    assert ("var/lib/rancher/rke2/server/db" in before) is (node.role is Role.SERVER)
    start(node, str(tmp_path))
    assert state(tmp_path) == before
