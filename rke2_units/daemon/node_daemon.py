"""The daemon's life: prepare, bring the units up, watch them, and stop them when it is itself stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from rke2_units import layout, unit_names
from rke2_units.daemon import kept_state, readiness, server_questions, units
from rke2_units.daemon.attempts import Attempt
from rke2_units.daemon.events import Events, StopRequested
from rke2_units.daemon.health import Health
from rke2_units.daemon.limits import Limits
from rke2_units.daemon.preparation import Prepared, prepare
from rke2_units.daemon.readiness import Failure
from rke2_units.daemon.retries import Retries
from rke2_units.daemon.servers import ServerWatch
from rke2_units.daemon.units import Restarts
from rke2_units.doors import files, journal
from rke2_units.doors.journal import Level
from rke2_units.errors import UserError
from rke2_units.images import image_store
from rke2_units.lean import settings as program_settings
from rke2_units.lean.file_systems import name_full
from rke2_units.model import UnitState
from rke2_units.node import causes, foreign_containerd
from rke2_units.unit_names import (
    API_PROXY_UNIT,
    CONTAINERD_UNIT,
    CONTENT_UNIT,
    ETCD_JOIN_UNIT,
    ETCDCTL_UNIT,
    IMAGES_UNIT,
    KUBE_APISERVER,
    KUBELET_UNIT,
    STATIC_PODS,
    Role,
)
from rke2_units.unit_table import ALL_UNITS, STOPPING_ORDER, UNITS, Start, Unit

if TYPE_CHECKING:
    from rke2_units.doors.dbus import Systemd

# systemd gives the daemon TimeoutStopSec=60; the contract 20 s to the whole stop.
STOP_TIMEOUT = 18.0
# An existing containerd may still be starting, when the machine boots.
FOREIGN_CONTAINERD_TIMEOUT = 60.0
# A kubelet that runs beside an apiserver that answers, and yet does not register its node, needs a person.
REGISTRATION_TIMEOUT = 100.0
_Answer = TypeVar("_Answer")


class StartFailed(UserError):
    """A component does not start; the daemon ends with a failure and is started again."""


class NodeDaemon:
    """One start of the node, from READY=0 to the end of the process."""

    def __init__(self, role: Role, systemd: Systemd) -> None:
        self._role = role
        self._systemd = systemd
        self._events = Events(systemd)
        self._status = ""
        self._began = time.time()
        self._starting = "starting"
        self._attempt = Attempt()
        self._limits = Limits()
        self._restarts = Restarts(systemd)
        # On a node that needs other servers, once its units are started.
        self._servers: ServerWatch | None = None

    def run(self) -> None:
        """Run until SIGTERM (returns) or until the node must be started again (raises UserError).

        Raises Mended when this process is to begin again, with a changed configuration.
        """
        try:
            self._pause()
            self._watch(*self._start())
        except StopRequested:
            self._stop()

    # -- starting -------------------------------------------------------------------------------------

    def _start(self) -> tuple[Prepared, Health]:
        with self._attempt.remembered():
            prepared = self._prepare()
            for warning in prepared.warnings:
                journal.log(Level.WARNING, warning)
            if ETCD_JOIN_UNIT in prepared.plan.units:
                self._join_etcd(prepared)
                # The plan is complete now: the values for etcd's first start are known.
                prepared = self._prepare(taken_in=True)
            return prepared, self._bring_up(prepared)

    def _prepare(self, *, taken_in: bool = False) -> Prepared:
        self._say("preparing: certificates, manifests and units")
        return prepare(self._role, self._systemd, self._ask_servers, taken_in=taken_in)

    def _ask_servers(self, question: Callable[[], _Answer]) -> _Answer:
        return server_questions.ask(self._events, question, self._wait_for_others)

    def _wait_for_others(self, text: str) -> None:
        """Show what a wait without a limit is for; begin again if the configuration changes meanwhile."""
        self._say(f"{self._starting}: {text}")
        self._attempt.begin_anew_if_mended()

    def _pause(self) -> None:
        """Wait before another attempt; a start by hand is a first attempt."""
        if not self._restarted_by_systemd():
            kept_state.forget_failed_attempts()
            kept_state.forget_stopped_by_hand()
            return
        if (number := self._attempt.pause(self._events.rest, self._say)) > 1:
            self._starting = f"starting, attempt {number}"
            self._began = time.time()

    def _restarted_by_systemd(self) -> bool:
        return self._systemd.restarts(self._role.unit) > 0

    def _join_etcd(self, prepared: Prepared) -> None:
        """Have etcd's other members take this server in, before its own etcd starts."""
        wanted = self._start_units(prepared)
        needed = readiness.needed(wanted, without_api=False)
        while True:
            states = self._look(wanted, needed)
            if readiness.is_up(states[ETCD_JOIN_UNIT]):
                return
            etcdctl = states[ETCDCTL_UNIT]
            if etcdctl.active == "failed" and not etcdctl.job:
                # A member can run without etcdctl, but a server that joins needs it.
                self._fail(Failure(ETCDCTL_UNIT, ""))
            waiting = readiness.waiting_for(states, wanted)
            if states[ETCD_JOIN_UNIT].active == "activating":
                waiting = self._systemd.status_text(ETCD_JOIN_UNIT) or waiting
            self._wait_for_others(f"joining: {waiting}")
            self._events.wait(1.0)

    def _bring_up(self, prepared: Prepared) -> Health:
        wanted = self._start_units(prepared)
        if (servers := prepared.servers) is not None:
            self._servers = ServerWatch(servers.source, servers.known, self._events.wake)
        return self._wait_until_ready(prepared, wanted)

    def _look(self, wanted: Sequence[str], needed: Sequence[str]) -> dict[str, UnitState]:
        """The states of these units. Raises StartFailed when one of them cannot start, or when one that is
        needed has been waited for too long."""
        states = self._systemd.states(wanted)
        failure = readiness.failure(states, self._restarts.count(states), wanted)
        failure = failure or self._limits.exceeded(states, needed, time.monotonic())
        if failure:
            self._fail(failure)
        return states

    def _start_units(self, prepared: Prepared) -> list[str]:
        """Start the plan's units that do not run yet; returns all of them except those stopped by hand."""
        stopped = kept_state.stopped_by_hand()
        if ETCD_JOIN_UNIT in prepared.plan.units:
            # A server that joins needs it, even if somebody stopped it while the server was a member before.
            stopped -= {ETCDCTL_UNIT}
        wanted = [unit for unit in prepared.plan.units if unit not in stopped]
        for unit in UNITS:
            # Steps between the units, on every node.
            if unit.name == API_PROXY_UNIT:
                self._free_ports(prepared, wanted)
            elif unit.name == CONTAINERD_UNIT:
                self._stop_what_left(prepared)
                self._restarts.remember(prepared.digests)
            elif unit_names.static_pod_of(unit.name) == STATIC_PODS[0]:
                pods = [pod for pod in prepared.static_pods if unit_names.static_pod_unit(pod) in wanted]
                units.end_outdated_starts(self._systemd, prepared.paths, pods)
            if unit.name in wanted:
                self._start_unit(unit, prepared)
        return wanted

    def _start_unit(self, unit: Unit, prepared: Prepared) -> None:
        systemd, name = self._systemd, unit.name
        if name == CONTENT_UNIT:
            units.start_content(systemd, prepared.paths, prepared.content_directory)
            # It extracts the programs of all others.
            self._wait_until_active(name)
            return
        if name == IMAGES_UNIT:
            # Static pods wait for the result of this run, not of the last one.
            image_store.forget_present()
        match unit.start:
            case Start.SOCKET | Start.TIMER:
                path = f"{layout.UNIT_DIRECTORY}/{name}"
                start = units.start_socket if unit.start is Start.SOCKET else units.start_timer
                start(systemd, name, kept_state.is_news(path))
                kept_state.remember_handed_on(path)
            case Start.PROCESS:
                units.start_process(systemd, name, prepared.digests[name])
            case Start.RUN_AGAIN:
                systemd.restart(name)
            case Start.POD:
                units.start_static_pod(systemd, prepared.paths, name)
        if name == API_PROXY_UNIT and kept_state.is_news(prepared.paths.api_proxy_config):
            # Its digest does not include the list of servers.
            self._reload_proxy(prepared.paths.api_proxy_config)

    def _free_ports(self, prepared: Prepared, wanted: Sequence[str]) -> None:
        """End the pods that leave this node: the proxy needs the port of one of them."""
        units.remove_unwanted_static_pods(self._systemd, prepared.paths, prepared.static_pods)
        if API_PROXY_UNIT not in wanted:
            return
        leaving = [unit_names.static_pod_unit(pod) for pod in STATIC_PODS if pod not in prepared.static_pods]
        while going := readiness.stopping(self._systemd.states(leaving)):
            self._say(f"{self._starting}: waiting for {going} to stop")
            self._events.wait(1.0)

    def _stop_what_left(self, prepared: Prepared) -> None:
        """Before containerd and the kubelet start: stop the units that are no longer in the plan."""
        if prepared.foreign_containerd:
            self._wait_for_foreign_containerd(prepared)
        states = self._systemd.states(ALL_UNITS)
        for unit in readiness.unwanted(states, prepared.plan.all_units):
            self._systemd.stop(unit)
            if states[unit].active == "failed":
                # Its file was removed, so nobody would start it again.
                self._systemd.reset_failed(unit)
        if states[KUBELET_UNIT].active != "active":
            units.discard_outdated_manifests(prepared.paths, prepared.static_pods)

    def _take_servers(self, prepared: Prepared) -> None:
        """Write the present servers into the list on disk and the proxy's configuration."""
        if prepared.servers is None or self._servers is None:
            return
        if (found := self._servers.take()) is None:
            return
        files.write_all(prepared.servers.files(found))
        self._reload_proxy(prepared.paths.api_proxy_config)
        journal.log(Level.INFO, f"the cluster's servers are now {', '.join(found.servers or found.members)}")

    def _reload_proxy(self, config: str) -> None:
        """Reload the proxy if it runs; otherwise it reads its configuration when it starts."""
        if self._systemd.state(API_PROXY_UNIT).active == "active":
            self._systemd.reload_unit(API_PROXY_UNIT)
        kept_state.remember_handed_on(config)

    def _wait_for_foreign_containerd(self, prepared: Prepared) -> None:
        """Return when it can serve this node. It has no unit of this node whose state would show that."""
        settings = program_settings.read(prepared.paths.program_settings)
        deadline = time.monotonic() + FOREIGN_CONTAINERD_TIMEOUT
        while lacking := foreign_containerd.waiting_for(settings):
            if time.monotonic() > deadline:
                raise StartFailed(f"timed out waiting for {lacking}", hint="is its service running?")
            self._say(f"{self._starting}: waiting for {lacking}")
            self._events.wait(1.0)

    def _wait_until_active(self, unit: str) -> None:
        while not readiness.is_up((states := self._look([unit], [unit]))[unit]):
            self._say(f"{self._starting}: " + readiness.waiting_for(states, [unit]))
            self._events.wait(5.0)

    def _wait_until_ready(self, prepared: Prepared, wanted: Sequence[str]) -> Health:
        """READY once the kubelet and every static pod answer, the node is registered, and units that are no
        longer in the plan have stopped; returns the health checks, which continue."""
        health = Health(
            prepared.health_checks,
            prepared.api,
            prepared.node_url,
            prepared.identity,
            self._events.wake,
            prepared.annotations,
        )
        needed = readiness.needed(wanted, without_api=prepared.up_without_api)
        others = [unit for unit in ALL_UNITS if unit not in prepared.plan.all_units]
        # Without them (stopped by hand, or on another node) this node cannot register: do not wait.
        own_apiserver = unit_names.static_pod_unit(KUBE_APISERVER)
        registering = (
            KUBELET_UNIT,
            API_PROXY_UNIT if prepared.api_elsewhere else own_apiserver,
        )
        can_register = all(unit in wanted for unit in registering) and not prepared.up_without_api
        answering_since = 0.0
        while True:
            states = self._look(wanted, needed)
            going = readiness.stopping(self._systemd.states(others))
            if not going and all(readiness.is_up(states[unit]) for unit in needed):
                # Last, because an apiserver stops answering when its etcd is replaced, while its unit stays.
                if not can_register or health.registered:
                    break
                health.ask_for_registration()
                answering_since = answering_since or time.monotonic()
                if prepared.api_elsewhere and not health.api_is_ready:
                    # Other machines may be away for as long as they like.
                    answering_since = time.monotonic()
                if time.monotonic() - answering_since > REGISTRATION_TIMEOUT:
                    self._fail(Failure(KUBELET_UNIT, "it has not registered this node"))
            waiting = f"waiting for {going} to stop" if going else readiness.waiting_for(states, needed)
            self._say(f"{self._starting}: {waiting}")
            self._take_servers(prepared)
            self._events.wait(5.0)
        if prepared.up_without_api:
            # Once an API server answers, the health of all components is reported, too.
            health.ask_for_registration()
        kept_state.forget_failed_attempts()
        self._status = readiness.health(states, wanted, set(), {}, {})
        journal.notify(READY=1, STATUS=self._status)
        journal.log(Level.INFO, f"{self._role.unit.removesuffix('.service')} is up and running")
        return health

    def _fail(self, failure: Failure) -> NoReturn:
        cause = self._explain(failure.unit, self._began)
        problem = ": ".join(text for text in (failure.reason, cause) if text)
        reason = f"{unit_names.component(failure.unit)} does not start: {problem}"
        raise StartFailed(reason, hint=f"journalctl -u {failure.unit}")

    def _explain(self, unit: str, since: float) -> str:
        """Why the unit failed; copies the last lines of its log into the daemon's."""
        cause, lines = causes.explain(unit, causes.log_since(unit, since))
        name = unit_names.component(unit)
        for line in lines:
            prefix = "" if line.startswith(name) else f"{name}| "
            journal.log(Level.WARNING, prefix + line, COMPONENT=unit)
        return name_full(cause) or "it logged nothing"

    # -- watching -------------------------------------------------------------------------------------

    def _watch(self, prepared: Prepared, health: Health) -> None:
        wanted = list(prepared.plan.units)
        stopped = kept_state.stopped_by_hand()
        containerd = Restarts(self._systemd)
        containerd.remember(unit for unit in (CONTAINERD_UNIT,) if unit in wanted)
        retries = Retries()
        while True:
            states = self._systemd.states(wanted)
            if any(
                count or states[unit].sub == "auto-restart"
                for unit, count in containerd.count(states).items()
            ):
                raise UserError(
                    f"{CONTAINERD_UNIT} ended unexpectedly; the node's units are started again",
                    hint=f"journalctl -u {CONTAINERD_UNIT}",
                )
            now_stopped = {
                unit for unit in wanted if states[unit].active == "inactive" and not states[unit].job
            }
            if now_stopped != stopped:
                self._tell_of_stopped(stopped, now_stopped)
                stopped = now_stopped
                kept_state.remember_stopped_by_hand(stopped)
            self._take_servers(prepared)
            self._retry_failed(retries, states)
            self._say(
                readiness.health(states, wanted, stopped, health.silent, retries.reasons),
                level=Level.WARNING,
            )
            self._events.wait(retries.seconds_to_next(60.0))

    def _tell_of_stopped(self, before: set[str], now: set[str]) -> None:
        for unit in sorted(now - before):
            journal.log(Level.NOTICE, f"{unit} was stopped by hand and stays stopped", COMPONENT=unit)
        for unit in sorted(before - now):
            journal.log(Level.NOTICE, f"{unit} is started again", COMPONENT=unit)

    def _retry_failed(self, retries: Retries, states: dict[str, UnitState]) -> None:
        for unit, state in states.items():
            if state.active == "active":
                retries.forget_tries(unit)
            if state.active != "failed" or state.job:
                retries.forget_failure(unit)
            elif not retries.knows(unit):
                retries.note(unit, self._explain(unit, self._began))
            elif retries.is_due(unit):
                retries.forget_failure(unit)
                self._systemd.start(unit)

    # -- stopping -------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Stop the units, unless this is a restart: then the next daemon restarts those that changed."""
        job = self._systemd.state(self._role.unit).job
        if job == "restart":
            journal.notify(STOPPING=1, STATUS="restarting; the node's units keep running")
            return
        journal.notify(STOPPING=1, STATUS="stopping the node's units; pods keep running")
        late = units.stop_all(self._systemd, STOPPING_ORDER, STOP_TIMEOUT)
        if late:
            raise UserError(f"did not stop within {STOP_TIMEOUT:.0f} s: {', '.join(late)}")
        kept_state.forget_stopped_by_hand()
        kept_state.forget_failed_attempts()

    def _say(self, status: str, *, level: Level = Level.INFO) -> None:
        """STATUS=, and one line in the journal whenever its meaning (not its seconds) changes."""
        if status == self._status:
            return
        self._status = status
        journal.notify(STATUS=status)
        journal.log(Level.INFO if status.startswith("running") else level, status)
