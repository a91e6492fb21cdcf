"""Starts, restarts and stops the node's units as the plan requires: jobs queued over D-Bus."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rke2_units import layout, unit_names
from rke2_units.layout import Paths
from rke2_units.model import UnitState

if TYPE_CHECKING:
    from rke2_units.doors.dbus import Systemd

_DIGEST = "RKE2_UNITS_DIGEST="
# How long (s) a service may take to release its socket.
_SERVICE_STOPS = 10.0
# How long (s) a static pod's unit may take to abort its start.
_START_STOPS = 10.0


@contextmanager
def pods_stay() -> Iterator[None]:
    """While this holds, stopping a static pod's unit leaves its pod alone.

    A lock and not a mere file: the kernel drops it when the daemon is killed.
    """
    os.makedirs(layout.RUNTIME_DIRECTORY, mode=0o755, exist_ok=True)
    descriptor = os.open(layout.STOPPING_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def running_digest(pid: int) -> str:
    """The digest that a process was started with, "" if it has none or has exited."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    for entry in environment.split(b"\0"):
        if entry.startswith(_DIGEST.encode()):
            return entry[len(_DIGEST) :].decode()
    return ""


def planned_digest(unit_text: str) -> str:
    """The digest in a rendered unit, "" when it carries none."""
    for line in unit_text.splitlines():
        name, _, value = line.partition("=")
        if name == "Environment" and value.startswith(_DIGEST):
            return value[len(_DIGEST) :]
    return ""


class Restarts:
    """How often systemd has restarted processes on its own, since `remember` was called for them."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        self._before: dict[str, int] = {}

    def remember(self, units: Iterable[str]) -> None:
        """From now on the restarts of these units are counted."""
        self._before = {unit: self._systemd.restarts(unit) for unit in units}

    def count(self, states: Mapping[str, UnitState]) -> dict[str, int]:
        """The restarts of each unit, without unloaded units: asking for these would load them."""
        counts = {}
        for unit, before in self._before.items():
            if unit not in states or states[unit].load == "unloaded":
                continue
            now = self._systemd.restarts(unit)
            # systemd counts from 0 again when a job (re)starts the unit, as this daemon may just have done.
            self._before[unit] = min(before, now)
            counts[unit] = now - self._before[unit]
        return counts


def content_is_staged(paths: Paths, directory: str) -> bool:
    """The planned binaries are extracted, and the link bin leads to them."""
    wanted = paths.content_directory(directory)
    return os.path.exists(f"{wanted}/.extracted") and os.path.realpath(paths.bin) == os.path.realpath(
        f"{wanted}/bin"
    )


def manifest_is_placed(paths: Paths, component: str) -> bool:
    """The manifest that the kubelet reads for this component is the planned one."""
    try:
        return (
            Path(paths.manifest(component)).read_bytes()
            == Path(paths.staged_manifest(component)).read_bytes()
        )
    except OSError:
        return False


def start_content(systemd: Systemd, paths: Paths, directory: str) -> None:
    """Run the unit of the content, unless it is in place and no other version is left to remove."""
    # It also removes other versions, once nothing runs from them.
    others = any(name.startswith("v") and name != directory for name in os.listdir(paths.content))
    is_active = systemd.state(unit_names.CONTENT_UNIT).active == "active"
    if not is_active or others or not content_is_staged(paths, directory):
        systemd.restart(unit_names.CONTENT_UNIT)


def start_process(systemd: Systemd, unit: str, digest: str) -> None:
    """Leave a process alone if it runs with the planned digest, else (re)start it."""
    state = systemd.state(unit)
    if state.active in ("active", "activating") and state.sub != "auto-restart":
        pid = systemd.main_pid(unit)
        if pid and running_digest(pid) == digest:
            return
    systemd.restart(unit)


def start_socket(systemd: Systemd, socket: str, changed: bool) -> None:
    """Start the socket of a service; a `changed` one listens elsewhere."""
    service = f"{socket.removesuffix('.socket')}.service"
    states = systemd.states([socket, service])
    if states[socket].active == "active" and not changed:
        return
    if states[service].active != "inactive":
        # systemd refuses to start a socket whose service runs.
        systemd.stop(service)
        systemd.wait_until([service], "stopped", _SERVICE_STOPS)
    systemd.restart(socket)


def start_timer(systemd: Systemd, timer: str, changed: bool) -> None:
    """Start a timer; a `changed` one elapses at other times. The service that it started keeps running."""
    if changed or systemd.state(timer).active != "active":
        systemd.restart(timer)


def end_outdated_starts(systemd: Systemd, paths: Paths, components: Sequence[str]) -> None:
    """Stop the units of static pods that are starting with an outdated manifest.

    Their pods keep running until the new manifests replace them.
    """
    states = systemd.states([unit_names.static_pod_unit(component) for component in components])
    outdated = [
        unit
        for component in components
        if _is_starting_outdated(paths, component, states[unit := unit_names.static_pod_unit(component)])
    ]
    if outdated:
        with pods_stay():
            for unit in outdated:
                systemd.stop(unit)
            systemd.wait_until(outdated, "stopped", _START_STOPS)


def start_static_pod(systemd: Systemd, paths: Paths, unit: str) -> None:
    """Start the unit of a static pod; a changed manifest replaces its pod."""
    if systemd.state(unit).active != "active":
        systemd.start(unit)
    elif not manifest_is_placed(paths, unit_names.static_pod_of(unit)):
        systemd.restart(unit)


def _is_starting_outdated(paths: Paths, component: str, state: UnitState) -> bool:
    """Whether the unit is in the middle of a start whose inputs may be outdated.

    systemd merges another start into the one in progress, which has already read what it waits for: an
    image, registries, a pod. A start that waits for the pod of the planned manifest continues.
    """
    waits_for_pod = state.sub in ("start", "start-post") and manifest_is_placed(paths, component)
    return state.active == "activating" and not waits_for_pod


def remove_unwanted_static_pods(systemd: Systemd, paths: Paths, wanted: Sequence[str]) -> None:
    """End the pods that are no longer in the plan, for example after disable-scheduler."""
    unwanted = [component for component in unit_names.STATIC_PODS if component not in wanted]
    states = systemd.states([unit_names.static_pod_unit(component) for component in unwanted])
    for component in unwanted:
        unit = unit_names.static_pod_unit(component)
        if states[unit].active in ("active", "activating"):
            systemd.stop(unit)
        else:
            # A unit that does not run removes nothing; without the manifest the kubelet ends the pod.
            Path(paths.manifest(component)).unlink(missing_ok=True)


def discard_outdated_manifests(paths: Paths, components: Sequence[str]) -> None:
    """Before the kubelet starts: remove manifests that differ from the planned ones.

    A kubelet that reads an old manifest first, before it has reached the apiserver, does not give it up: the
    new pod would wait forever for the old one to end.
    """
    for component in components:
        if not manifest_is_placed(paths, component):
            Path(paths.manifest(component)).unlink(missing_ok=True)


def stop_all(systemd: Systemd, units: Sequence[str], timeout: float) -> list[str]:
    """Stop these units, in this order, and leave all pods running; returns those that are late."""
    with pods_stay():
        states = systemd.states(units)
        for unit in units:
            if states[unit].load == "loaded" and states[unit].active != "inactive":
                systemd.stop(unit)
        late = systemd.wait_until(units, "stopped", timeout)
    for unit, state in systemd.states(units).items():
        if state.active == "failed":
            systemd.reset_failed(unit)
    return late
