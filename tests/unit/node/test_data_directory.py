"""A folder that is somebody's does not become the node's."""

import os
from pathlib import Path

import pytest

from rke2_units.errors import ConfigurationError
from rke2_units.node import data_directory


class Found:
    def __init__(self, user: int, group: int, mode: int) -> None:
        self.st_uid, self.st_gid, self.st_mode = user, group, 0o40000 | mode


@pytest.mark.parametrize(
    ("found", "entries", "said"),
    [
        (Found(0, 0, 0o755), ["anything"], ""),
        (Found(0, 0, 0o700), [], ""),
        (Found(0, 4, 0o2770), ["lost+found"], ""),
        (Found(1000, 1000, 0o700), ["server", "agent", "data"], ""),  # taken over from RKE2
        (Found(65533, 65533, 0o700), [".bashrc"], "belongs to user 65533"),
        (Found(65533, 65533, 0o755), [], "belongs to user 65533"),
        (Found(65533, 0, 0o755), ["data"], "belongs to user 65533"),
        (Found(0, 0, 0o700), ["backups"], "is in use for other things"),
        (Found(0, 100, 0o775), ["share"], "is in use for other things"),
    ],
)
def test_only_a_folder_of_its_own_becomes_the_nodes(
    found: Found, entries: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "stat", lambda path: found)
    monkeypatch.setattr(os, "listdir", lambda path: entries)
    if not said:
        data_directory.refuse_others("/srv/x")
        return
    with pytest.raises(ConfigurationError, match=said):
        data_directory.refuse_others("/srv/x")


def test_a_dry_run_that_may_not_look_leaves_it_to_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(os, "listdir", refuse)
    data_directory.refuse_others("/")


def test_one_that_is_not_there_yet_will_do(tmp_path: Path) -> None:
    data_directory.refuse_others(f"{tmp_path}/new")
