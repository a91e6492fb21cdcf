"""A containerd that is there already is waited for, or refused with what is wrong with it."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.lean.settings import Settings
from rke2_units.machine import processes
from rke2_units.machine.processes import Process
from rke2_units.node import foreign_containerd
from tests.unit.fake_pods import add_pod
from tests.unit.program_values import make_settings

# As containerd 1.6 and 2.1 have it.
PLUGINS = """\
TYPE                            ID                       PLATFORMS      STATUS
io.containerd.content.v1        content                  -              ok
io.containerd.snapshotter.v1    btrfs                    linux/amd64    skip
io.containerd.runtime.v2        task                     linux/amd64    ok
io.containerd.grpc.v1           tasks                    -              ok
io.containerd.grpc.v1           cri                      linux/amd64    ok
"""
NO_SERVICE = (
    "ctr: rpc error: code = Unimplemented desc = unknown service containerd.services.introspection.v1"
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Settings]:
    """The settings of a node with something that listens behind the socket, and a state directory there."""
    settings = make_settings(tmp_path, ctr=str(tmp_path / "ctr"))
    os.makedirs(os.path.dirname(settings.bundles))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(settings.containerd_socket)
        listening.listen()
        yield settings


@pytest.fixture
def answers(node: Settings) -> Callable[[str, str], None]:
    """Have ctr say this on standard output and standard error; with the latter it fails."""

    def say(output: str, errors: str = "") -> None:
        Path(f"{node.ctr}.out").write_text(output)
        Path(f"{node.ctr}.err").write_text(errors)
        Path(node.ctr).write_text(f'#!/bin/sh\ncat "$0.out"; cat "$0.err" >&2; exit {int(bool(errors))}\n')
        Path(node.ctr).chmod(0o755)

    return say


def test_a_containerd_that_serves_kubernetes_lacks_nothing(
    node: Settings, answers: Callable[..., None]
) -> None:
    answers(PLUGINS)
    assert foreign_containerd.waiting_for(node) == ""


def test_a_containerd_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    said = f"the containerd behind {settings.containerd_socket} (No such file or directory)"
    assert foreign_containerd.waiting_for(settings) == said


def test_a_containerd_that_does_not_answer_yet_is_waited_for(
    node: Settings, answers: Callable[..., None]
) -> None:
    answers("", "ctr: failed to dial: context deadline exceeded\n")
    assert "context deadline exceeded" in foreign_containerd.waiting_for(node)


def test_a_containerd_that_takes_too_long_is_waited_for(
    node: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_containerd, "_PATIENCE", 0.05)
    Path(node.ctr).write_text("#!/bin/sh\nexec sleep 30\n")
    Path(node.ctr).chmod(0o755)
    assert "took more than" in foreign_containerd.waiting_for(node)


def test_another_container_runtime_is_refused(node: Settings, answers: Callable[..., None]) -> None:
    answers("", f"{NO_SERVICE}\n")
    with pytest.raises(
        ConfigurationError, match="container-runtime-endpoint: .* is not containerd"
    ) as error:
        foreign_containerd.waiting_for(node)
    assert "CRI-O, Docker" in str(error.value.hint)


@pytest.mark.parametrize(
    ("plugins", "state"),
    [
        ("\n".join(line for line in PLUGINS.splitlines() if " cri " not in line), "disabled"),
        (PLUGINS.replace("cri                      linux/amd64    ok", "cri  linux/amd64  error"), "error"),
    ],
)
def test_a_containerd_without_its_cri_plugin_is_refused(
    node: Settings, answers: Callable[..., None], plugins: str, state: str
) -> None:
    answers(plugins)
    with pytest.raises(ConfigurationError, match=f"does not serve Kubernetes: its CRI plugin is {state}"):
        foreign_containerd.waiting_for(node)


def test_a_containerd_whose_running_containers_cannot_be_seen_is_refused(
    node: Settings, answers: Callable[..., None]
) -> None:
    answers(PLUGINS)
    os.rmdir(os.path.dirname(node.bundles))
    with pytest.raises(ConfigurationError, match="has its state directory elsewhere"):
        foreign_containerd.waiting_for(node)


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The last plan's settings, with a pod of etcd in its containerd, of which one process lives."""
    settings = make_settings(tmp_path)
    paths = Paths(os.fspath(tmp_path))
    os.makedirs(os.path.dirname(paths.program_settings))
    os.rename(tmp_path / "settings.json", paths.program_settings)
    add_pod(settings, "etcd", "x")
    living = {7: Process(7, 1, "etcd", "/etcd", "0::/kubepods/cri-containerd-container-etcd-x.scope")}
    monkeypatch.setattr(processes, "read_processes", lambda: living)
    return settings


def test_another_containerd_is_refused_while_pods_run_in_the_old_one(planned: Settings) -> None:
    paths = Paths(planned.data_directory)
    with pytest.raises(
        ConfigurationError, match="kube-system/etcd-node1 is in the containerd behind"
    ) as error:
        foreign_containerd.refuse_to_leave(paths, "/run/other.sock")
    assert "rke2-units killall" in str(error.value.hint)
    foreign_containerd.refuse_to_leave(paths, planned.containerd_socket)


def test_bundles_whose_containers_have_ended_hold_nothing_up(
    planned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "read_processes", dict)
    foreign_containerd.refuse_to_leave(Paths(planned.data_directory), "/run/other.sock")


def test_without_a_plan_there_is_nothing_to_leave(tmp_path: Path) -> None:
    foreign_containerd.refuse_to_leave(Paths(os.fspath(tmp_path)), "/run/other.sock")
