"""The command cluster-reset: what it shows, asks and returns."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from rke2_units.cli import cluster_reset
from rke2_units.cli.invoke import invoke
from rke2_units.cli.planning import Chosen, Planned
from rke2_units.errors import ExitCode
from rke2_units.node import installation
from rke2_units.node.installation import Installation
from rke2_units.plan import make_plan
from rke2_units.unit_names import Role
from tests.unit.node.cluster_reset_machine import PASSWORD, STAMP, Cluster, Machine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def machine(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, cluster, monkeypatch)
    installed = Installation(Role.SERVER, made.node.release.name, made.paths.data)

    def plan_of(role: Role, release: None, *, arguments: tuple[tuple[str, str], ...]) -> Planned:
        node = made.node
        return Planned(make_plan(role, node.config, node.facts, node.release), node, installed, ())

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(installation, "read", lambda root="/": installed)
    monkeypatch.setattr(cluster_reset, "refuse_running", lambda: None)
    monkeypatch.setattr(cluster_reset, "time", SimpleNamespace(time=lambda: STAMP))
    monkeypatch.setattr(
        cluster_reset,
        "choose",
        lambda *_, **__: Chosen(Role.SERVER, made.node.config, made.node.release.name, {}),
    )
    monkeypatch.setattr(cluster_reset, "make_plan_here", plan_of)
    return made


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> Iterator[None]:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda text: answer == "y")
    yield


def test_without_a_terminal_and_without_yes_it_only_shows(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.had_a_cluster()
    before = machine.everything()
    assert invoke(["cluster-reset", "--restore", str(machine.snapshot)]) == 1
    shown = capsys.readouterr().out
    assert f"move the data of etcd in {machine.paths.etcd_data} to {machine.paths.etcd_data}-old-" in shown
    assert shown.endswith("nothing was changed: use --yes to do it\n")
    assert machine.everything() == before


def test_whoever_says_no_is_believed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = machine.everything()
    with terminal(monkeypatch, "n"):
        assert invoke(["cluster-reset", "--restore", str(machine.snapshot)]) == 1
    assert capsys.readouterr().out.endswith("nothing was changed\n")
    assert machine.everything() == before


def test_with_yes_and_a_token_file_it_is_done_and_says_what_to_type(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.node = machine.configured(token=None)
    token = tmp_path / "token"
    token.write_text(f"{PASSWORD}\n")
    path = str(machine.snapshot)
    arguments = ["--cluster-reset-restore-path", path, "--token-file", str(token), "--yes"]
    assert invoke(["cluster-reset", *arguments]) == 0
    shown = capsys.readouterr()
    assert "\n  systemctl start rke2-server\n" in shown.out
    assert PASSWORD not in shown.out + shown.err
    assert machine.data["/registry/pods/default/a"] == "a pod"


def test_what_was_interrupted_is_completed_without_a_question(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in machine.reset().steps():
        if line.startswith("writing"):
            break
    assert invoke(["cluster-reset"]) == 0
    assert capsys.readouterr().out.startswith("A cluster-reset was interrupted; this completes it.\n")
    assert not os.path.exists(machine.paths.reset_progress)


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--restore", "/none"], "etcd: snapshot path does not exist: /none", ExitCode.FAILURE),
        (["--token", "x"], "No such option: --token", ExitCode.USAGE),
    ],
)
def test_what_cannot_be_done_is_one_line(
    machine: Machine,
    arguments: list[str],
    message: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(["cluster-reset", *arguments]) == code
    assert message in capsys.readouterr().err.splitlines()[0]


def test_only_root_resets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert invoke(["cluster-reset"]) == ExitCode.FAILURE
    assert "cluster-reset requires root" in capsys.readouterr().err
