from typing import Any, cast

import pytest

from rke2_units import names
from rke2_units.daemon import units
from rke2_units.model import UnitState

SOCKET, SERVICE = names.SUPERVISOR_SOCKET, names.SUPERVISOR_UNIT


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
