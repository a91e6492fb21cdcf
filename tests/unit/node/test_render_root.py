"""render writes into folders of its own user, and follows no links there."""

import os
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.model import Directory, File, Plan
from rke2_units.node import render_root
from rke2_units.node.apply import write
from rke2_units.unit_names import Role

PLAN = Plan(Role.SERVER, (Directory("/var/db/etcd", 0o700),), (File("/etc/x/config", "x"),), (), "x")


def test_a_new_folder_and_one_of_an_earlier_run_will_do(tmp_path: Path) -> None:
    root = f"{tmp_path}/out"
    render_root.refuse_others(root, PLAN)
    write(PLAN, root)
    render_root.refuse_others(root, PLAN)


@pytest.mark.parametrize("place", ["", "/var", "/var/db", "/var/db/etcd", "/etc/x"])
def test_a_link_on_the_way_is_refused(tmp_path: Path, place: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    link = tmp_path / f"out{place}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(other)
    with pytest.raises(UserError, match="a link"):
        render_root.refuse_others(f"{tmp_path}/out", PLAN)


@pytest.mark.parametrize("place", ["", "/var", "/etc"])
def test_a_folder_that_everybody_can_write_to_is_refused(tmp_path: Path, place: str) -> None:
    folder = tmp_path / f"out{place}"
    folder.mkdir(parents=True)
    folder.chmod(0o1777)
    with pytest.raises(UserError, match="by everybody"):
        render_root.refuse_others(f"{tmp_path}/out", PLAN)


@pytest.mark.parametrize("place", ["", "/var/db"])
def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"out{place}").mkdir(parents=True)
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        render_root.refuse_others(f"{tmp_path}/out", PLAN)


def test_what_root_has_rendered_for_another_user_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.stat(tmp_path).st_uid
    plan = Plan(Role.SERVER, (Directory("/var/db/etcd", 0o700, user=owner),), (), (), "x")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    render_root.refuse_others(f"{tmp_path}/out", plan)
