import threading
import time
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.lean import systemd
from rke2_units.lean.console import Waiting
from rke2_units.lean.systemd import UnitState
from rke2_units.programs import gate
from tests.unit.health_server import HealthServer
from tests.unit.program_values import health_checks, make_settings


@pytest.fixture
def unit_states(monkeypatch: pytest.MonkeyPatch) -> list[UnitState]:
    """What systemd says when asked, one after the other; the last one stays."""
    states = [UnitState("activating", "start")]
    monkeypatch.setattr(systemd, "unit_state", lambda unit: states.pop(0) if len(states) > 1 else states[0])
    monkeypatch.setattr(gate, "_LOOK", 0.1)
    monkeypatch.setattr(gate, "_PATIENCE", 0.5)
    return states


def test_a_gate_opens_at_once_when_what_is_needed_is_healthy(
    tmp_path: Path, health_server: HealthServer
) -> None:
    gate.program(
        make_settings(
            tmp_path, health_checks=health_checks(kubelet=health_server.url, etcd="http://[::1]:1/")
        ),
        ["etcd"],
    )
    assert health_server.requests == 1


def test_a_gate_opens_within_a_fifth_of_a_second_of_what_is_needed(
    tmp_path: Path,
    health_server: HealthServer,
    unit_states: list[UnitState],
    capsys: pytest.CaptureFixture[str],
) -> None:
    health_server.code = 500
    settings = make_settings(tmp_path, health_checks=health_checks(kubelet=health_server.url))
    opened: list[float] = []

    def wait() -> None:
        gate.program(settings, ["etcd"])
        opened.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.55)
    health_server.code = 200
    since = time.monotonic()
    thread.join(timeout=5)
    assert opened[0] - since < 0.2
    assert capsys.readouterr().err == "<6>waiting for kubelet (HTTP 500)\n"


def test_a_need_whose_unit_is_down_is_given_a_moment_and_then_named(
    tmp_path: Path, unit_states: list[UnitState]
) -> None:
    unit_states[:] = [UnitState("inactive", "dead")]
    began = time.monotonic()
    with pytest.raises(UserError, match="etcd needs kubelet, but rke2-kubelet.service is inactive"):
        gate.program(make_settings(tmp_path), ["etcd"])
    assert time.monotonic() - began >= 0.5


def test_a_need_that_comes_up_after_all_is_waited_for(
    tmp_path: Path, health_server: HealthServer, unit_states: list[UnitState]
) -> None:
    health_server.code = 500
    down = UnitState("failed", "failed")
    unit_states[:] = [down, down, UnitState("activating", "start")]
    thread = threading.Timer(1.0, lambda: setattr(health_server, "code", 200))
    thread.start()
    gate.program(make_settings(tmp_path, health_checks=health_checks(kubelet=health_server.url)), ["etcd"])
    thread.join()


def test_a_need_that_systemd_restarts_is_waited_for(
    tmp_path: Path, health_server: HealthServer, unit_states: list[UnitState]
) -> None:
    health_server.code = 500
    unit_states[:] = [UnitState("activating", "auto-restart")]
    thread = threading.Timer(1.0, lambda: setattr(health_server, "code", 200))
    thread.start()
    gate.program(make_settings(tmp_path, health_checks=health_checks(kubelet=health_server.url)), ["etcd"])
    thread.join()


def test_the_need_for_a_static_pod_is_that_pods_unit(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert gate.unit_of(settings, "etcd") == "rke2-static-pod@etcd.service"
    assert gate.unit_of(settings, "kubelet") == "rke2-kubelet.service"


def test_what_comes_about_elsewhere_is_waited_for_without_a_unit(
    tmp_path: Path, health_server: HealthServer, unit_states: list[UnitState]
) -> None:
    unit_states[:] = [UnitState("inactive", "dead")]
    health_server.code = 500
    settings = make_settings(tmp_path, health_checks=health_checks(vote=health_server.url))
    thread = threading.Timer(1.0, lambda: setattr(health_server, "code", 200))
    thread.start()
    gate.wait(settings, "vote", "kube-apiserver", Waiting())
    thread.join()
    assert len(unit_states) == 1
