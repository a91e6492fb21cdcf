"""`static_pod --settings FILE place|ready|remove COMPONENT`: a static pod's life, as a unit's commands.

place   ExecStart=       the manifest goes where the kubelet watches
ready   ExecStartPost=   until the component answers, or cannot
remove  ExecStopPost=   the pod goes, if it was this unit that was stopped
"""

import fcntl
import os
import time

from rke2_units import layout, unit_names
from rke2_units.errors import UserError
from rke2_units.lean import console, systemd, write
from rke2_units.lean.containers import Containers, Task
from rke2_units.lean.pod_logs import (
    PodLog,
    most_telling,
    refuses_arguments,
    says_removed,
    tells_an_error,
    up_to_most_telling,
)
from rke2_units.lean.probe import Probe
from rke2_units.lean.settings import Settings, StaticPod

_INTERVAL = 0.1
# How long the kubelet may take to stop a pod: it sees the change at once, or within 20 s if it misses it,
# and gives containers 30 s. With the grace that follows it stays below the unit's TimeoutStopSec=.
_KUBELET_STOPS = 35.0
# A kubelet that was in the middle of a sync of the pod makes it once more within a second (seen with 1.20)
# and takes it away at its next housekeeping, which is every 2 s.
_STAYS_GONE = 2.0
# A container that ended so often since `ready` began to look will not come up by itself.
_EXITS = 3
# One that started and is not seen to run for so long has ended; the kubelet's back-off begins at 10 s.
_ENDED = 5.0
# With a healthy kubelet a container runs within seconds; back-off after failures goes up to 5 minutes.
_NO_CONTAINER = 90.0
# A machine under emulation needs 3 minutes for what takes others 7 seconds.
_LONGEST = 900.0
_KUBELET_LOOK = 5.0
# Between two looks into the kubelet's journal, while it has started no container.
_REFUSAL_LOOK = 3.0
_PLACED_JUST_NOW = 10.0
_KUBELETS_JOURNAL = f"journalctl -u {unit_names.KUBELET_UNIT}"
_KUBELET_DEAD = 60.0
_SHOWN = 10


def program(settings: Settings, arguments: list[str]) -> None:
    match arguments:
        case ["place", component]:
            place(settings, settings.static_pod(component))
        case ["ready", component]:
            ready(settings, settings.static_pod(component))
        case ["remove", component]:
            remove(settings, component)
        case _:
            raise UserError("static_pod takes an action and a component", hint=_USAGE)


def place(settings: Settings, pod: StaticPod) -> None:
    """Puts the staged manifest where the kubelet watches; a pod with another UID is stopped first.

    A kubelet that has not seen the API server yet does not stop a pod whose manifest changed, and the new
    pod would find its ports in use. If this is killed between the steps, the next run completes them: the
    new manifest is put in place only when no old pod runs.
    """
    wanted = _content(pod.staged)
    if wanted is None:
        raise UserError(
            f"{pod.staged}: the manifest of {pod.component} is missing",
            hint="rke2-server (or rke2-agent) writes it when it starts",
        )
    if wanted == _content(pod.manifest):
        return
    if any(task.uid != pod.uid for task in Containers(settings).tasks(pod.component)):
        console.say(f"the manifest of {pod.component} changed: stopping the old pod first")
        _take_away(settings, pod.component, pod.manifest, keep=pod.uid)
    _put(pod, wanted)
    console.say(f"{pod.component}: manifest in place")


def ready(settings: Settings, pod: StaticPod) -> None:
    """Returns when the component is healthy; UserError with the cause when it will not be."""
    waiting = console.Waiting()
    check, kubelets = settings.health_check(pod.component), settings.health_check("kubelet")
    with Probe(check) as probe, Probe(kubelets) as kubelet:
        watch = _Watch(settings, pod, probe, kubelet)
        while reason := watch.look():
            waiting.report(pod.component, reason)
            time.sleep(_INTERVAL)
    console.status(f"{pod.component} is ready")


def remove(settings: Settings, component: str) -> None:
    """Removes the pod and returns when its sandbox is gone; also a pod that is no longer in the plan.

    It does nothing when the node daemon stops its units or the machine shuts down: pods keep running. Nor
    when the start failed: the kubelet keeps trying, and the next start finds the pod.
    """
    if os.environ.get("SERVICE_RESULT", "success") != "success":
        return
    if _daemon_stops() or systemd.machine_stops():
        return
    planned = component in settings.static_pods or component not in unit_names.STATIC_PODS
    manifest = (
        settings.static_pod(component).manifest
        if planned
        else layout.Paths(settings.data_directory).manifest(component)
    )
    _take_away(settings, component, manifest, keep="")
    console.say(f"{component}: pod removed")


class _Watch:
    """What `ready` sees of a pod, and when it gives up."""

    def __init__(self, settings: Settings, pod: StaticPod, probe: Probe, kubelet: Probe) -> None:
        self._settings = settings
        self._pod = pod
        self._probe = probe
        self._kubelet = kubelet
        self._log = PodLog(pod.component, settings.node_name, pod.uid)
        self._containers = Containers(settings)
        # The logs of a container that is over since before; another containerd begins at 0 once more.
        self._old = [] if self._container_runs() else self._log.starts()
        # The last end whose words have been looked at.
        self._judged = 0
        self._first_start: int | None = None
        self._last_start: int | None = None
        now = time.monotonic()
        self._began = now
        self._container_seen = now
        self._kubelet_seen = now
        self._kubelet_looked = now
        self._refusal_looked = now
        self._since = _words_count_since(pod)

    def look(self) -> str:
        """What is missing, "" when the component is ready; UserError when it will not become ready."""
        now = time.monotonic()
        starts = self._log.starts()
        if not starts or (starts == self._old and not self._container_runs()):
            reason = "its container has not started"
            self._check_refusal(now)
        else:
            self._old = []
            if self._first_start is None:
                self._first_start = starts[-1]
            if starts[-1] != self._last_start:
                # Only what this watch has seen: older logs may be of data that is gone.
                if self._last_start is not None and says_removed(self._log.of_start(self._last_start)):
                    raise self._removed()
                self._last_start = starts[-1]
                self._container_seen = now
            reason = self._probe.ask()
            # Another process on its port must not pass for it.
            if not reason and self._container_runs():
                return ""
            restarted = starts[-1] - self._first_start
            ended = restarted + (now - self._container_seen > _ENDED)
            if ended >= _EXITS or (ended > self._judged and refuses_arguments(self._log.lines())):
                raise self._failure(f"ended {ended} times" if ended > 1 else "ended")
            self._judged = ended
            if restarted:
                reason = f"{reason}; its container has been started {restarted + 1} times"
        self._check_kubelet(now)
        if self._container_runs():
            self._container_seen = now
        if now - self._container_seen > _NO_CONTAINER:
            raise self._failure(f"has had no running container for {_NO_CONTAINER:.0f} s")
        if now - self._began > _LONGEST:
            raise self._failure(f"is not ready after {_LONGEST / 60:.0f} minutes ({reason})")
        return reason or "its container has ended"

    def _container_runs(self) -> bool:
        tasks = self._containers.tasks(self._pod.component)
        return any(task.uid == self._pod.uid and not task.is_sandbox for task in tasks)

    def _check_refusal(self, now: float) -> None:
        """UserError when the kubelet has rejected this manifest."""
        if now - self._refusal_looked < _REFUSAL_LOOK:
            return
        self._refusal_looked = now
        lines = systemd.journal_errors(unit_names.KUBELET_UNIT, [self._pod.manifest], self._since)
        if any(tells_an_error(line) for line in lines):
            raise self._error("is refused by the kubelet", lines, _KUBELETS_JOURNAL)

    def _check_kubelet(self, now: float) -> None:
        if now - self._kubelet_looked < _KUBELET_LOOK:
            return
        self._kubelet_looked = now
        if not (reason := self._kubelet.ask()):
            self._kubelet_seen = now
            return
        # While the kubelet is down, the missing container is not the pod's fault.
        self._container_seen = now
        state = systemd.unit_state(unit_names.KUBELET_UNIT)
        if now - self._kubelet_seen > (_KUBELET_LOOK if state.is_over else _KUBELET_DEAD):
            raise UserError(
                f"{self._pod.component} cannot start: the kubelet is not healthy ({reason}), "
                f"{unit_names.KUBELET_UNIT} is {state.active}",
                hint=f"see `journalctl -u {unit_names.KUBELET_UNIT}`",
            )

    def _removed(self) -> UserError:
        # Only etcd's own folder: the snapshots beside it stay.
        data = layout.Paths(self._settings.data_directory).etcd_data
        return UserError(
            "this server was removed from the cluster's etcd, which rejects a removed member's old data",
            hint="to join again, with `server` in its configuration:"
            f" rke2-units killall; rm -r {data}; systemctl start rke2-server",
        )

    def _failure(self, what: str) -> UserError:
        """The error, after the log's last lines have been shown."""
        if lines := self._log.lines():
            return self._error(what, lines, self._log.directory)
        # Lines with its name, its UID or its manifest: early errors of the kubelet have only the last.
        words = [f"{self._pod.component}-{self._settings.node_name}", self._pod.uid, self._pod.manifest]
        lines = systemd.journal_errors(unit_names.KUBELET_UNIT, words, self._since)
        return self._error(what, lines, _KUBELETS_JOURNAL)

    def _error(self, what: str, lines: list[str], place: str) -> UserError:
        for line in up_to_most_telling(lines, _SHOWN):
            console.say(f"{self._pod.component}| {line}", console.WARNING)
        cause = most_telling(lines)
        return UserError(
            f"{self._pod.component} {what}" + (f": {cause}" if cause else ""), hint=f"its log: {place}"
        )


def _words_count_since(pod: StaticPod) -> float:
    """The time (s since the epoch) from which the kubelet's messages are about the current manifest.

    The kubelet reads a new manifest at once, and all of them every 20 s.
    """
    now = time.time()
    try:
        placed = os.stat(pod.manifest).st_ctime
    except FileNotFoundError:
        return now
    return placed if now - _PLACED_JUST_NOW < placed else now


def _take_away(settings: Settings, component: str, manifest: str, keep: str) -> None:
    """Removes the manifest and returns when no pod of the component runs but the one with UID `keep`.

    The kubelet stops the pod gracefully; then the pod must stay gone. A kubelet that is down or stopping (as
    when both are replaced), or that has not seen the API server, does not: then containerd stops it.
    """
    containers = Containers(settings)
    kubelet_has_synced = _apiserver_answers(settings)
    _unlink(manifest)

    def others() -> list[Task]:
        return [task for task in containers.tasks(component) if task.uid != keep]

    if component == unit_names.ETCD and others():
        # Without etcd, an API server delays each answer about a mirror pod, and so the kubelet's work on all
        # pods, by half a minute, and takes 20 s to end. While it restarts, it refuses connections at once.
        containers.kill(containers.tasks(unit_names.KUBE_APISERVER))
    waiting = console.Waiting()
    began = time.monotonic()
    last_seen = began - _STAYS_GONE
    with Probe(settings.health_check("kubelet")) as kubelet:
        while (tasks := others()) or time.monotonic() - last_seen < _STAYS_GONE:
            late = time.monotonic() - began > _KUBELET_STOPS
            if tasks and (late or not kubelet_has_synced or kubelet.ask()):
                console.say(f"the kubelet does not stop {component}: stopping it through containerd")
                containers.stop(tasks)
                return
            if tasks:
                last_seen = time.monotonic()
                waiting.report(f"the kubelet to stop {component}")
            time.sleep(_INTERVAL)


def _apiserver_answers(settings: Settings) -> bool:
    """Whether it does now; that of an agent, which knows none, counts."""
    if unit_names.KUBE_APISERVER not in settings.health_checks:
        return True
    with Probe(settings.health_checks[unit_names.KUBE_APISERVER]) as apiserver:
        return not apiserver.ask()


def _daemon_stops() -> bool:
    """Whether the node daemon is stopping its units: it holds the lock for that long."""
    try:
        lock = os.open(layout.STOPPING_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _put(pod: StaticPod, content: bytes) -> None:
    """Writes the manifest outside the watched folder, with the staged one's mode, and renames it in."""
    staged = os.stat(pod.staged)
    os.makedirs(os.path.dirname(pod.manifest), mode=0o700, exist_ok=True)
    with write.replace(
        pod.manifest,
        staged.st_mode & 0o777,
        owner=(staged.st_uid, staged.st_gid),
        temporary=f"{pod.staged}.placed",
    ) as file:
        file.write(content)


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


_USAGE = "static_pod --settings FILE place|ready|remove COMPONENT"

if __name__ == "__main__":
    console.main(program, _USAGE)
