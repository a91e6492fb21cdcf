"""The applier's process: its settings, what it says, and how it ends."""

import json
from pathlib import Path

import pytest

from rke2_units.applier import process, settings
from rke2_units.errors import ConfigurationError, ExitCode
from rke2_units.lean.chart_states import DEPLOYED, FAILED, FILE_NAME, INVALID, WAITING
from rke2_units.plan import applier_settings
from tests.unit.plan.cases import make_node
from tests.unit.service import ended, statuses


def write(path: Path, **changes: object) -> str:
    planned = json.loads(applier_settings.text(make_node()))
    path.write_text(json.dumps(planned | changes))
    return str(path)


def test_the_applier_reads_what_the_plan_writes(tmp_path: Path) -> None:
    found = settings.read(write(tmp_path / "a.json"))
    assert found.node_name == "node1"
    assert found.url == "https://127.0.0.1:6443"
    assert found.identity.key == "/var/lib/rancher/rke2/server/tls/client-supervisor.key"
    assert "rke2-calico" in found.disabled


@pytest.mark.parametrize("change", [{"disabled": "a"}, {"kubernetes": {}}, {"helm": 1}, {"work": None}])
def test_settings_that_are_none_say_who_writes_them(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="rke2-server"):
        settings.read(write(tmp_path / "a.json", **change))


@pytest.mark.parametrize(
    ("holds", "problems", "text"),
    [
        (True, [], "manifests and charts are applied as they change"),
        (True, ["a.yaml:3: bad"], "degraded: a.yaml:3: bad"),
        (True, ["one", "two", "three"], "degraded: one (and 2 more: journalctl -u rke2-helm-applier)"),
    ],
)
def test_the_status_says_what_is_wrong(holds: bool, problems: list[str], text: str) -> None:
    assert process.status(holds, problems) == text


def test_without_the_lease_nothing_is_wrong() -> None:
    assert process.status(False, ["old"]).startswith("waiting for the lease")


def test_charts_that_failed_or_lack_something_are_problems(tmp_path: Path) -> None:
    assert process.chart_problems(str(tmp_path)) == []
    states = {"a": DEPLOYED, "b": FAILED, "c": "install", "d": INVALID, "e": WAITING}
    charts = [
        {"namespace": "n", "name": name, "state": state, "words": "why"} for name, state in states.items()
    ]
    (tmp_path / FILE_NAME).write_text(json.dumps(charts))
    assert process.chart_problems(str(tmp_path)) == [
        "chart n/b: why",
        "chart n/d: why",
        "chart n/e: why",
    ]


def test_it_is_ready_without_an_apiserver_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    file = write(
        tmp_path / "a.json",
        kubernetes={"url": "http://127.0.0.1:1", "authority": "", "certificate": "", "key": ""},
        manifests=str(tmp_path / "manifests"),
        work=str(tmp_path / "work"),
    )
    begun, stopping = statuses("rke2_units.applier", file, tmp_path)
    assert begun.startswith("READY=1\nSTATUS=waiting for the lease") and stopping.startswith("STOPPING=1")


def test_without_settings_it_says_what_to_do(tmp_path: Path) -> None:
    child = ended("rke2_units.applier", str(tmp_path / "none"))
    assert "rke2-server" in child.stderr
    assert child.returncode == ExitCode.CONFIGURATION
