"""systemd over D-Bus: the one door to it, and the only importer of pystemd (API of 0.11).

pystemd takes and returns bytes, and holds no reference to the callback of a match. This module takes and
returns text, and its only callback is a plain function, which lives as long as the process.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from pystemd.dbusexc import DBusBaseError
from pystemd.dbuslib import DBus, apply_signature, path_encode

from rke2_units.errors import UserError
from rke2_units.model import UnitState

_SYSTEMD = b"org.freedesktop.systemd1"
_MANAGER_PATH = b"/org/freedesktop/systemd1"
_MANAGER = b"org.freedesktop.systemd1.Manager"
_UNIT = b"org.freedesktop.systemd1.Unit"
_SERVICE = b"org.freedesktop.systemd1.Service"


def _woken(message: Any, error: Any = None, userdata: Any = None) -> None:
    """A signal only means "look again": one call then asks for the state of all units."""


class Systemd:
    """A connection to systemd. Raises UserError when there is no system bus or no systemd behind it."""

    def __init__(self) -> None:
        self._bus = DBus()
        try:
            self._bus.open()
        except DBusBaseError as error:
            raise UserError(
                f"cannot reach systemd over the system bus: {_text(error)}",
                hint="systemd must run as PID 1, with dbus.service active, and this needs root",
            ) from None

    def __enter__(self) -> Systemd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._bus.close()

    def _call(self, method: str, signature: bytes, *arguments: object) -> Any:
        try:
            return self._bus.call_method(
                _SYSTEMD,
                _MANAGER_PATH,
                _MANAGER,
                method.encode(),
                apply_signature(signature, list(arguments)),
            ).body
        except DBusBaseError as error:
            named = next((a.decode() for a in arguments if isinstance(a, bytes)), "")
            raise UserError(f"systemd refused {method} {named}".rstrip() + f": {_text(error)}") from None

    def reload(self) -> None:
        """`systemctl daemon-reload`."""
        self._call("Reload", b"")

    def enable(self, unit: str) -> None:
        self._call("EnableUnitFiles", b"asbb", [unit.encode()], False, False)

    def start(self, unit: str) -> None:
        """Queue a start job; it does not wait for it."""
        self._call("StartUnit", b"ss", unit.encode(), b"replace")

    def stop(self, unit: str) -> None:
        """Queue a stop job; it does not wait for it."""
        self._call("StopUnit", b"ss", unit.encode(), b"replace")

    def restart(self, unit: str) -> None:
        """Queue a restart job (a start, when the unit does not run); it does not wait for it."""
        self._call("RestartUnit", b"ss", unit.encode(), b"replace")

    def reload_unit(self, unit: str) -> None:
        """Queue a reload job of a unit that runs (`systemctl reload`); it does not wait for it."""
        self._call("ReloadUnit", b"ss", unit.encode(), b"replace")

    def reset_failed(self, unit: str) -> None:
        self._call("ResetFailedUnit", b"s", unit.encode())

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        """The state of each of these units, in one call that has systemd load none of them.

        Loading one that systemd would forget at once (ListUnitsByNames, or to ask for a property) is told by
        signals, also about those that it depends on: who looks again at each signal would never rest.
        """
        patterns = [unit.encode() for unit in units]
        rows = self._call("ListUnitsByPatterns", b"asas", [], patterns) if units else []
        found = {unit: UnitState(unit, "unloaded", "inactive", "dead", "") for unit in units}
        for row in rows:
            name = row[0].decode()
            job = row[8].decode() if row[7] else ""
            found[name] = UnitState(name, row[2].decode(), row[3].decode(), row[4].decode(), job)
        return found

    def state(self, unit: str) -> UnitState:
        return self.states([unit])[unit]

    def restarts(self, unit: str) -> int:
        """How often systemd itself has restarted this service since it was last started by a job."""
        return int(self._service_property(unit, b"NRestarts", b"u"))

    def main_pid(self, unit: str) -> int:
        """The main process of a service, 0 without one."""
        return int(self._service_property(unit, b"MainPID", b"u"))

    def status_text(self, unit: str) -> str:
        """What the service last said of itself by sd_notify(3), "" for nothing."""
        text: bytes = self._service_property(unit, b"StatusText", b"s")
        return text.decode(errors="replace")

    def needs_reload(self, units: Sequence[str]) -> bool:
        """Whether systemd has an older version of one of these units in memory than there is on disk."""
        return any(self._property(unit, _UNIT, b"NeedDaemonReload", b"b") for unit in units)

    def _service_property(self, unit: str, name: bytes, signature: bytes) -> Any:
        return self._property(unit, _SERVICE, name, signature)

    def _property(self, unit: str, interface: bytes, name: bytes, signature: bytes) -> Any:
        path = path_encode(b"/org/freedesktop/systemd1/unit", unit.encode())
        try:
            return self._bus.get_property(_SYSTEMD, path, interface, name, signature)
        except DBusBaseError as error:
            raise UserError(f"cannot read {name.decode()} of {unit} from systemd: {_text(error)}") from None

    def watch(self) -> None:
        """Have fileno() become readable when a unit's properties change or a job ends."""
        self._call("Subscribe", b"")
        for path, interface, member in (
            (_MANAGER_PATH, _MANAGER, b"JobRemoved"),
            (None, b"org.freedesktop.DBus.Properties", b"PropertiesChanged"),
        ):
            self._bus.match_signal(_SYSTEMD, path, interface, member, _woken, None)

    def fileno(self) -> int:
        return int(self._bus.get_fd())

    def drain(self) -> bool:
        """Read all signals that have arrived; True when there were any. states() then has the details."""
        any_arrived = False
        try:
            while not self._bus.process().is_empty():
                any_arrived = True
        except DBusBaseError as error:
            raise UserError(f"the connection to D-Bus is lost: {_text(error)}") from None
        return any_arrived

    def wait_until(self, units: Sequence[str], settled: str, timeout: float) -> list[str]:
        """Wait until each of these units is inactive or failed ("stopped"), or has no job ("idle").

        Returns the units that were not so after `timeout` seconds. For short commands; the daemon watches.
        """
        deadline = time.monotonic() + timeout
        while True:
            states = self.states(units).values()
            if settled == "stopped":
                waiting = [s.name for s in states if s.active not in ("inactive", "failed")]
            else:
                waiting = [s.name for s in states if s.job]
            if not waiting or time.monotonic() > deadline:
                return waiting
            time.sleep(0.05)


def _text(error: DBusBaseError) -> str:
    # pystemd 0.11 gives "[err -2]: b'Unit x.service not found.'" for what systemd said.
    found = re.search(r"b(['\"])(.*)\1", str(error), re.DOTALL)
    return found[2] if found else str(error) or type(error).__name__
