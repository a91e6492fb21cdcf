"""systemd as the daemon sees it, without processes: units have states, and jobs run when time passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rke2_units.daemon.events import StopRequested
from rke2_units.model import UnitState

# (ActiveState, SubState), as systemd names them.
State = tuple[str, str]
RUNNING: State = ("active", "running")
FAILED: State = ("failed", "failed")
ENDED: State = ("activating", "auto-restart")


@dataclass
class FakeUnit:
    """A unit; `starts` are the states that a start of it goes through, one a step; the last one stays."""

    active: str = "inactive"
    sub: str = "dead"
    load: str = "loaded"
    job: str = ""
    restarts: int = 0
    pid: int = 0
    text: str = ""
    starts: Sequence[State] = (RUNNING,)
    to_come: list[State] = field(default_factory=list)

    def be(self, state: State) -> None:
        self.active, self.sub = state


class FakeSystemd:
    """The methods of rke2_units.doors.dbus.Systemd that the daemon calls. `did` has what was asked for."""

    def __init__(self) -> None:
        self.units: dict[str, FakeUnit] = {}
        self.did: list[tuple[str, str]] = []
        self.watched = False
        # Called with a unit's name when it starts, and when it has stopped.
        self.on_start: Callable[[str], None] = lambda unit: None
        self.on_stop: Callable[[str], None] = lambda unit: None
        self.outdated: set[str] = set()
        self._pids = 100

    def __getitem__(self, name: str) -> FakeUnit:
        return self.units.setdefault(name, FakeUnit())

    # -- what a test does -----------------------------------------------------------------------------

    def run(self, *names: str) -> None:
        """These units run already."""
        for name in names:
            self[name].be(RUNNING)
            self[name].pid = self._next_pid()

    def end(self, name: str) -> None:
        """The process of the unit ends; systemd restarts it at the next step."""
        unit = self[name]
        unit.be(ENDED)
        unit.restarts += 1
        unit.job, unit.pid = "", 0
        unit.to_come = list(unit.starts)

    def step(self) -> bool:
        """A moment passes; returns whether anything has changed."""
        return any([self._step(name, unit) for name, unit in list(self.units.items())])

    def asked(self, what: str) -> list[str]:
        """The units that the daemon asked systemd to start, restart, stop, ..., in this order."""
        return [unit for each, unit in self.did if each == what]

    def started(self) -> list[str]:
        return [unit for each, unit in self.did if each in ("start", "restart")]

    # -- what the daemon calls ------------------------------------------------------------------------

    def start(self, unit: str) -> None:
        self._queue("start", unit)

    def restart(self, unit: str) -> None:
        self._queue("restart", unit)

    def stop(self, unit: str) -> None:
        self._queue("stop", unit)

    def reload_unit(self, unit: str) -> None:
        self.did.append(("reload", unit))

    def reset_failed(self, unit: str) -> None:
        self.did.append(("reset-failed", unit))
        self[unit].be(("inactive", "dead"))

    def reload(self) -> None:
        self.did.append(("daemon-reload", ""))
        self.outdated.clear()

    def needs_reload(self, units: Sequence[str]) -> bool:
        return not self.outdated.isdisjoint(units)

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        return {unit: self.state(unit) for unit in units}

    def state(self, unit: str) -> UnitState:
        found = self.units.get(unit, FakeUnit())
        # systemd forgets a unit that does not run and has no job.
        is_forgotten = found.active == "inactive" and not found.job and found.load == "loaded"
        load = "unloaded" if is_forgotten else found.load
        return UnitState(unit, load, found.active, found.sub, found.job)

    def restarts(self, unit: str) -> int:
        return self[unit].restarts

    def main_pid(self, unit: str) -> int:
        return self[unit].pid

    def status_text(self, unit: str) -> str:
        return self[unit].text

    def watch(self) -> None:
        self.watched = True

    def wait_until(self, units: Sequence[str], settled: str, timeout: float) -> list[str]:
        assert settled == "stopped"
        self.did += [("wait", unit) for unit in units]
        while self.step():
            pass
        return [unit for unit in units if self.state(unit).active not in ("inactive", "failed")]

    # -- inside ---------------------------------------------------------------------------------------

    def _queue(self, job: str, name: str) -> None:
        self.did.append((job, name))
        unit = self[name]
        is_under_way = job == "start" and unit.active == "activating" and unit.to_come
        if unit.load != "loaded" or is_under_way or (job == "start" and unit.active == "active"):
            return
        unit.job = job
        unit.to_come = [] if job == "stop" else list(unit.starts)

    def _step(self, name: str, unit: FakeUnit) -> bool:
        if unit.job == "stop":
            if unit.active in ("active", "activating"):
                unit.be(("deactivating", "stop"))
            else:
                unit.be(FAILED if unit.active == "failed" else ("inactive", "dead"))
                unit.job, unit.pid = "", 0
                self.on_stop(name)
            return True
        if not unit.to_come:
            return False
        if unit.to_come == list(unit.starts):
            unit.restarts = 0 if unit.job else unit.restarts
            unit.pid = self._next_pid()
            self.on_start(name)
        unit.be(unit.to_come.pop(0))
        if not unit.to_come and unit.active != "activating":
            unit.job = ""
        return True

    def _next_pid(self) -> int:
        self._pids += 1
        return self._pids


class FakeEvents:
    """rke2_units.daemon.events.Events on a clock of its own: nobody sleeps.

    Each time that nothing happens any more, the next of `then` is done; after the last one the daemon gets
    SIGTERM, unless it is to go on for `lasts` seconds.
    """

    def __init__(self, systemd: FakeSystemd) -> None:
        self._systemd = systemd
        self.now = 1000.0
        self.then: list[Callable[[], None]] = []
        self.lasts = 0.0
        self._woken = False
        systemd.watch()

    def wake(self) -> None:
        self._woken = True

    def wait(self, timeout: float) -> None:
        if self._systemd.step() or self._woken:
            self._woken = False
            self.now += 0.01
        elif self.then:
            self.now += 0.01
            self.then.pop(0)()
        elif self.lasts > 0:
            self.now += timeout
            self.lasts -= timeout
        else:
            raise StopRequested

    def rest(self, seconds: float) -> None:
        self.now += seconds
