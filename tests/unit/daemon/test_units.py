from pathlib import Path
from typing import Any, cast

import pytest

from rke2_units import layout, unit_names
from rke2_units.daemon import units
from rke2_units.model import UnitState
from rke2_units.programs import static_pod

SOCKET, SERVICE = unit_names.SUPERVISOR_SOCKET, unit_names.SUPERVISOR_UNIT


class Systemd:
    def __init__(self, socket: str, service: str) -> None:
        self.active = {SOCKET: socket, SERVICE: service}
        self.did: list[tuple[str, ...]] = []

    def states(self, wanted: list[str]) -> dict[str, UnitState]:
        return {unit: UnitState(unit, "loaded", self.active[unit], "", "") for unit in wanted}

    def stop(self, unit: str) -> None:
        self.did.append(("stop", unit))

    def restart(self, unit: str) -> None:
        self.did.append(("restart", unit))

    def wait_until(self, wanted: list[str], settled: str, timeout: float) -> list[str]:
        self.did.append((settled, *wanted))
        return []


FREE = [("stop", SERVICE), ("stopped", SERVICE), ("restart", SOCKET)]


@pytest.mark.parametrize(
    ("socket", "service", "changed", "does"),
    [
        ("active", "active", False, []),
        ("active", "inactive", False, []),
        ("inactive", "inactive", False, [("restart", SOCKET)]),
        ("active", "active", True, FREE),
        ("failed", "active", False, FREE),
        ("inactive", "failed", False, FREE),
    ],
)
def test_a_socket_is_started_while_its_service_does_not_run(
    socket: str, service: str, changed: bool, does: list[tuple[str, ...]]
) -> None:
    systemd = Systemd(socket, service)
    units.start_socket(cast(Any, systemd), SOCKET, SERVICE, changed)
    assert systemd.did == does


class Pods:
    """systemd with the units of static pods; states are (ActiveState, SubState)."""

    def __init__(self, **states: tuple[str, str]) -> None:
        self.now = {unit_names.static_pod_unit(pod): state for pod, state in states.items()}
        self.did: list[tuple[str, str]] = []
        self.pods_stay: list[bool] = []

    def states(self, wanted: list[str]) -> dict[str, UnitState]:
        return {unit: UnitState(unit, "loaded", *self.now[unit], "") for unit in wanted}

    def stop(self, unit: str) -> None:
        self.did.append(("stop", unit))
        self.pods_stay.append(static_pod._daemon_stops())

    def start(self, unit: str) -> None:
        self.did.append(("start", unit))

    def restart(self, unit: str) -> None:
        self.did.append(("restart", unit))

    def wait_until(self, wanted: list[str], settled: str, timeout: float) -> list[str]:
        self.did += [(settled, unit) for unit in wanted]
        self.pods_stay.append(static_pod._daemon_stops())
        return []


ETCD = unit_names.static_pod_unit("etcd")
ANEW = [("stop", ETCD), ("stopped", ETCD), ("start", ETCD)]


@pytest.mark.parametrize(
    ("state", "manifest", "does"),
    [
        (("active", "exited"), "wanted", []),
        (("active", "exited"), "outdated", [("restart", ETCD)]),
        (("inactive", "dead"), "outdated", [("start", ETCD)]),
        (("failed", "failed"), "outdated", [("start", ETCD)]),
        (("deactivating", "stop-post"), "outdated", [("start", ETCD)]),
        # It waits for the pod of an older manifest, which will never be ready.
        (("activating", "start-post"), "outdated", ANEW),
        (("activating", "start-post"), "", ANEW),
        (("activating", "start"), "outdated", ANEW),
        # It pulls an image, perhaps from a registry that is no longer the one.
        (("activating", "start-pre"), "outdated", ANEW),
        (("activating", "start-pre"), "wanted", ANEW),
        # A daemon that was killed in the middle of a start goes on with it.
        (("activating", "start-post"), "wanted", [("start", ETCD)]),
    ],
)
def test_a_static_pods_unit_that_is_starting_what_is_outdated_begins_anew_and_its_pod_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: tuple[str, str],
    manifest: str,
    does: list[tuple[str, str]],
) -> None:
    monkeypatch.setattr(layout, "RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(layout, "STOPPING_LOCK", str(tmp_path / "stopping.lock"))
    paths = layout.Paths(str(tmp_path))
    for path, text in ((paths.staged_manifest("etcd"), "wanted"), (paths.manifest("etcd"), manifest)):
        if text:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
    systemd = Pods(etcd=state)
    units.start_static_pods(cast(Any, systemd), paths, ["etcd"])
    assert systemd.did == does
    assert all(systemd.pods_stay)
    assert not static_pod._daemon_stops()
