"""The daemon's life: prepare, bring the units up, watch them, and stop them when it is itself stopped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from rke2_units import names
from rke2_units.daemon import judgement, memory, units
from rke2_units.daemon.events import Events, StopRequested
from rke2_units.daemon.judgement import Failure
from rke2_units.daemon.preparation import Prepared, prepare
from rke2_units.daemon.probes import Probes
from rke2_units.doors import journal
from rke2_units.doors.dbus import Systemd
from rke2_units.doors.journal import Level
from rke2_units.errors import UserError
from rke2_units.model import UnitState
from rke2_units.names import Role

# systemd gives the daemon TimeoutStopSec=60; the contract 20 s to the whole stop.
STOP_TIMEOUT = 18.0
# A kubelet that runs beside an apiserver that answers, and yet does not register its node, needs a person.
REGISTRATION_TIMEOUT = 100.0
# How long a failed static pod rests before its unit is started again, by the number of tries.
RETRY_PAUSES = (15, 30, 60, 120, 300)


class StartFailed(UserError):
    """A component does not start; the daemon ends with a failure and is started again."""


class NodeDaemon:
    """One start of the node, from READY=0 to the end of the process."""

    def __init__(self, role: Role, systemd: Systemd) -> None:
        self._role = role
        self._systemd = systemd
        self._events = Events(systemd)
        self._status = ""

    def run(self) -> None:
        """Live until SIGTERM (returns) or until the node has to be started anew (raises UserError)."""
        try:
            self._pause()
            self._say("preparing: certificates, manifests and units")
            prepared = prepare(self._role, self._systemd)
            self._bring_up(prepared)
            self._watch(prepared)
        except StopRequested:
            self._stop()

    # -- starting -------------------------------------------------------------------------------------

    def _pause(self) -> None:
        """Wait before another attempt; a start by hand is a first attempt."""
        if not self._restarted_by_systemd():
            memory.forget_failed_attempts()
            memory.forget_stopped_by_hand()
            return
        count, reason = memory.failed_attempts()
        deadline = time.monotonic() + judgement.pause_before(count)
        while (remaining := deadline - time.monotonic()) > 0:
            self._say(f"attempt {count + 1} in {remaining:.0f} s; the last one failed: {reason}")
            self._events.wait(min(remaining, 5.0))

    def _restarted_by_systemd(self) -> bool:
        return self._systemd.restarts(self._role.unit) > 0

    def _bring_up(self, prepared: Prepared) -> None:
        systemd, paths = self._systemd, prepared.paths
        stopped = memory.stopped_by_hand()
        wanted = [unit for unit in prepared.plan.units if unit not in stopped]
        states = systemd.states(names.ALL_UNITS)
        if names.CONTENT_UNIT in wanted:
            units.start_content(systemd, paths, prepared.content_directory, states[names.CONTENT_UNIT])
            self._wait_until_active([names.CONTENT_UNIT])
        units.remove_unwanted_static_pods(systemd, paths, prepared.static_pods)
        if states[names.KUBELET_UNIT].active != "active":
            units.discard_outdated_manifests(paths, prepared.static_pods)
        before = {unit: systemd.restarts(unit) for unit in prepared.digests}
        for unit, digest in prepared.digests.items():
            if unit in wanted:
                units.start_process(systemd, unit, digest, states[unit])
        if names.IMAGES_UNIT in wanted:
            systemd.restart(names.IMAGES_UNIT)
        for component in prepared.static_pods:
            if (unit := names.static_pod_unit(component)) in wanted:
                units.start_static_pod(systemd, paths, component, states[unit])
        self._wait_until_ready(prepared, wanted, before)

    def _wait_until_active(self, wanted: Sequence[str]) -> None:
        while True:
            states = self._systemd.states(wanted)
            if failure := judgement.failure(states, {}, wanted):
                self._fail(failure)
            if all(state.active == "active" for state in states.values()):
                return
            self._say("starting: " + judgement.waiting_for(states, wanted))
            self._events.wait(5.0)

    def _wait_until_ready(self, prepared: Prepared, wanted: Sequence[str], before: dict[str, int]) -> None:
        """READY once etcd is healthy, the apiserver and the kubelet answer, and the node is registered."""
        probes = self._probes(prepared)
        needed = [unit for unit in prepared.ready_units if unit in wanted]
        node_can_register = names.KUBELET_UNIT in wanted and prepared.registers_here
        answering_since = 0.0
        while True:
            states = self._systemd.states(wanted)
            if failure := judgement.failure(states, self._restarts(before), wanted):
                self._fail(failure)
            if all(states[unit].active == "active" for unit in needed):
                if not node_can_register or probes.registered:
                    break
                answering_since = answering_since or time.monotonic()
                probes.ask_for_registration()
                if time.monotonic() - answering_since > REGISTRATION_TIMEOUT:
                    self._fail(Failure(names.KUBELET_UNIT, "it has not registered this node"))
            self._say("starting: " + judgement.waiting_for(states, [*needed]))
            self._events.wait(5.0)
        memory.forget_failed_attempts()
        journal.notify(READY=1, STATUS="running")
        journal.log(Level.INFO, f"{self._role.unit.removesuffix('.service')} is up and running")

    def _probes(self, prepared: Prepared) -> Probes:
        self._live_probes = Probes(prepared.facts, prepared.node_url, prepared.identity, self._events.wake)
        return self._live_probes

    def _restarts(self, before: dict[str, int]) -> dict[str, int]:
        # The counter starts anew when a job (re)starts the unit, as this daemon may just have done.
        now = {unit: self._systemd.restarts(unit) for unit in before}
        for unit, count in now.items():
            before[unit] = min(before[unit], count)
        return {unit: count - before[unit] for unit, count in now.items()}

    def _fail(self, failure: Failure) -> None:
        name = judgement.component(failure.unit)
        reason = f"{name} does not start: {failure.reason}: {last_words(failure.unit)}"
        memory.remember_failed_attempt(reason)
        raise StartFailed(reason, hint=f"journalctl -u {failure.unit}")

    # -- watching -------------------------------------------------------------------------------------

    def _watch(self, prepared: Prepared) -> None:
        wanted = list(prepared.plan.units)
        stopped = memory.stopped_by_hand()
        containerd = {names.CONTAINERD_UNIT: self._systemd.restarts(names.CONTAINERD_UNIT)}
        retries = Retries()
        while True:
            states = self._systemd.states(wanted)
            if self._restarts(containerd)[names.CONTAINERD_UNIT] or (
                states[names.CONTAINERD_UNIT].sub == "auto-restart"
            ):
                raise UserError(
                    f"{names.CONTAINERD_UNIT} ended unexpectedly; the node's units are brought up again",
                    hint=f"journalctl -u {names.CONTAINERD_UNIT}",
                )
            now_stopped = {
                unit for unit in wanted if states[unit].active == "inactive" and not states[unit].job
            }
            if now_stopped != stopped:
                self._tell_of_stopped(stopped, now_stopped)
                stopped = now_stopped
                memory.remember_stopped_by_hand(stopped)
            self._retry_failed(retries, states)
            self._say(
                judgement.health(states, wanted, stopped, self._live_probes.silent), level=Level.WARNING
            )
            self._events.wait(retries.seconds_to_next(60.0))

    def _tell_of_stopped(self, before: set[str], now: set[str]) -> None:
        for unit in sorted(now - before):
            journal.log(Level.NOTICE, f"{unit} was stopped by hand and stays stopped", COMPONENT=unit)
        for unit in sorted(before - now):
            journal.log(Level.NOTICE, f"{unit} is started again", COMPONENT=unit)

    def _retry_failed(self, retries: Retries, states: dict[str, UnitState]) -> None:
        for unit, state in states.items():
            if state.active != "failed":
                retries.forget(unit)
            elif retries.is_due(unit):
                journal.log(Level.WARNING, f"{unit} failed and is started again: {last_words(unit)}")
                self._systemd.start(unit)

    # -- stopping -------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Stop the units, unless this is a restart: then the next daemon replaces what the plan changes."""
        job = self._systemd.state(self._role.unit).job
        if job == "restart":
            journal.notify(STOPPING=1, STATUS="restarting; the node's units keep running")
            return
        self._events.ignore_further_stops()
        journal.notify(STOPPING=1, STATUS="stopping the node's units; pods keep running")
        late = units.stop_all(self._systemd, names.ALL_UNITS, STOP_TIMEOUT)
        if late:
            raise UserError(f"did not stop within {STOP_TIMEOUT:.0f} s: {', '.join(late)}")
        memory.forget_stopped_by_hand()
        memory.forget_failed_attempts()

    def _say(self, status: str, *, level: Level = Level.INFO) -> None:
        """STATUS=, and one line in the journal whenever its meaning (not its seconds) changes."""
        if status == self._status:
            return
        self._status = status
        journal.notify(STATUS=status)
        journal.log(Level.INFO if status.startswith("running") else level, status)


class Retries:
    """When a failed unit is due to be started again: pauses that grow with each try."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def is_due(self, unit: str) -> bool:
        now = time.monotonic()
        if unit not in self._due:
            tries = self._tries.get(unit, 0)
            self._due[unit] = now + RETRY_PAUSES[min(tries, len(RETRY_PAUSES) - 1)]
            return False
        if now < self._due[unit]:
            return False
        self._tries[unit] = self._tries.get(unit, 0) + 1
        del self._due[unit]
        return True

    def forget(self, unit: str) -> None:
        """The unit does not stand failed now; its tries count until it has been up for long."""
        self._due.pop(unit, None)

    def seconds_to_next(self, at_most: float) -> float:
        return max(0.1, min([at_most, *(due - time.monotonic() for due in self._due.values())]))


def last_words(unit: str, lines: int = 3) -> str:
    """The last lines that a unit logged, as one."""
    command = [
        "journalctl",
        "--unit",
        unit,
        "--lines",
        str(lines),
        "--output",
        "cat",
        "--no-pager",
        "--quiet",
    ]
    command += ["_SYSTEMD_UNIT=" + unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return " | ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) or "(no log lines)"
