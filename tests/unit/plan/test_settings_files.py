"""What the plan writes for other processes, and what these read of it, are the same keys."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rke2_units.applier import settings as applier
from rke2_units.controllers import settings as controllers
from rke2_units.images import registries
from rke2_units.join_api import settings as join_api
from rke2_units.lean import chart_staging, json_table
from rke2_units.lean import settings as programs
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from rke2_units.snapshots.settings import Settings as Snapshots
from tests.unit.plan.cases import CASES

READERS: dict[str, tuple[Callable[[str], object], ...]] = {
    "rke2-helm-applier.json": (applier.read, chart_staging.read),
    "rke2-controllers.json": (controllers.read,),
    "rke2-etcd-snapshot.json": (Snapshots,),
    "rke2-supervisor.json": (join_api.read,),
    "rke2-units.json": (programs.read,),
    "rke2-units-registries.json": (registries.read,),
}
# For the next plan (node.facts).
READ_ELSEWHERE = {"/registered"}


class Read(dict[str, Any]):
    """A JSON object that knows which of its keys were asked for."""

    def __init__(self, values: dict[str, Any], asked: set[str]) -> None:
        super().__init__(values)
        self.asked = asked

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        self.asked.update(self.keys())
        return super().__iter__()


def with_asked(value: Any, asked: dict[str, set[str]], place: str = "") -> Any:
    if isinstance(value, dict):
        inner = {key: with_asked(each, asked, f"{place}/{key}") for key, each in value.items()}
        return Read(inner, asked.setdefault(place, set()))
    if isinstance(value, list):
        return [with_asked(each, asked, f"{place}/[]") for each in value]
    return value


def unread(value: Any, asked: dict[str, set[str]], place: str = "") -> Iterator[str]:
    """The keys that nobody asked for; an object of which nobody asked for any is taken as a whole."""
    if isinstance(value, dict):
        for key, each in value.items():
            if asked[place] and key not in asked[place]:
                yield f"{place}/{key}"
            yield from unread(each, asked, f"{place}/{key}")
    elif isinstance(value, list):
        for each in value:
            yield from unread(each, asked, f"{place}/[]")


@pytest.mark.parametrize("case", CASES)
def test_whatever_is_written_is_read(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    node = CASES[case]
    plan = make_plan(node.role, node.config(), node.facts, release(DEFAULT))
    written = {Path(file.path).name: file.content for file in plan.files}
    for name in READERS.keys() & written.keys():
        values = json.loads(written[name])
        asked: dict[str, set[str]] = {}
        tables = {name: json_table.Table(name, with_asked(values, asked))}
        monkeypatch.setattr(json_table, "read", tables.__getitem__)
        for read in READERS[name]:
            read(name)
        assert set(unread(values, asked)) <= READ_ELSEWHERE, name


def test_every_process_with_a_settings_file_is_looked_at() -> None:
    node = CASES["server"]
    plan = make_plan(node.role, node.config(), node.facts, release(DEFAULT))
    assert READERS.keys() == {Path(file.path).name for file in plan.files if file.path.endswith(".json")}
