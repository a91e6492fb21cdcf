"""Watches charts and the objects they refer to, and reconciles a chart when one of these changes.

Charts do not wait for each other. Like helm-controller, it starts two helms at a time, but a helm that takes
long (a hook, a slow registry) does not keep the next one waiting.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from rke2_units.applier.charts import crds, status
from rke2_units.applier.charts.helm import Helm
from rke2_units.applier.charts.reconciler import GROUP, Interrupted, Reconciler
from rke2_units.applier.charts.states import Key, States
from rke2_units.applier.charts.workspace import sweep
from rke2_units.coordination.events import Events
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, path_to
from rke2_units.errors import UserError

_AT_ONCE = 2
_MOST = 8
_LONG = 5.0
# Seconds. A chart and its HelmChartConfig are often created together.
_SETTLE = 0.3
# Seconds until a helm whose chart has changed meanwhile is killed: the grace period of a pod.
_GRACE = 30.0
# Seconds that a running helm gets when this process has to end; systemd waits 15 s.
_PATIENCE = 8.0
_LONGEST_PAUSE = 30.0
_AFTER_A_FAULT = 60.0
# Without helm's own release records: they are many and large, and no chart takes values from them.
_SECRETS = "/api/v1/secrets?fieldSelector=type%21%3Dhelm.sh/release.v1"


@dataclass
class _Run:
    """A chart that is being reconciled in a thread of its own."""

    thread: threading.Thread
    cancel: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)
    # When (s, monotonic) the chart, its configuration or a Secret changed after the start of this run.
    changed: float | None = None


class Controller:
    """The charts' part of the helm-applier."""

    def __init__(
        self,
        client: Client,
        events: Events,
        held: threading.Event,
        *,
        helm: str,
        kubeconfig: str,
        work: str,
        api_address: str,
    ) -> None:
        """`held`: set while this server holds the lease. `helm` and `kubeconfig` are paths, `work` a folder.

        `api_address` (host:port) replaces %{KUBERNETES_API} in addresses of charts.
        """
        self._client = client
        self._held = held
        self._work = work
        self._states = States(work)
        self._reconciler = Reconciler(
            client, events, Helm(helm, kubeconfig), self._states, work=work, api_address=api_address
        )
        self._stop = threading.Event()
        self._changed = threading.Condition()
        # All of these are guarded by the condition.
        self._due: dict[Key, float] = {}
        self._running: dict[Key, _Run] = {}
        self._errors: dict[Key, int] = {}
        self._seen: dict[tuple[str, Key], Hashable] = {}
        self._referenced: dict[Key, frozenset[str]] = {}
        self._watches_secrets = False
        self._acts = False

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set and every helm has ended. To be run in a thread."""
        self._stop = stop
        sweep(self._work)
        if not self._ensure_definitions():
            return
        self._watch(f"{GROUP}/helmcharts", self._chart_changed)
        self._watch(f"{GROUP}/helmchartconfigs", self._config_changed)
        scheduler = threading.Thread(target=self._schedule, name="charts", daemon=True)
        scheduler.start()
        stop.wait()
        with self._changed:
            self._changed.notify_all()
        scheduler.join()
        self._end_runs()

    def _ensure_definitions(self) -> bool:
        """Creates the CustomResourceDefinitions; False if `stop` was set before that succeeded."""
        pause = 1.0
        while not self._stop.is_set():
            try:
                ready = [self._ensure_definition(definition) for definition in crds.definitions()]
                if all(ready):
                    return True
                pause = 0.2
            except (ApiError, ApiUnavailable) as error:
                if pause >= 4:
                    journal.log(
                        Level.WARNING, f"cannot create the CustomResourceDefinitions of HelmCharts: {error}"
                    )
                pause = min(max(pause, 1.0) * 2, _LONGEST_PAUSE)
            self._stop.wait(pause)
        return False

    def _ensure_definition(self, wanted: dict[str, Any]) -> bool:
        path = path_to(crds.DEFINITIONS, wanted["metadata"]["name"])
        try:
            present = self._client.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            present = self._client.create(crds.DEFINITIONS, wanted)
        if patch := crds.update(present, wanted):
            present = self._client.merge_patch(path, patch)
        return crds.is_established(present)

    def _watch(self, path: str, take: Callable[[dict[str, Any], bool], None]) -> None:
        def follow() -> None:
            for event in self._client.watch(path, stop=self._stop, metadata_only=True):
                if event.type != "SYNCED":
                    take(event.object, event.type == "DELETED")

        threading.Thread(target=follow, name=f"watch {path}", daemon=True).start()

    def _chart_changed(self, obj: dict[str, Any], gone: bool) -> None:
        annotations = obj["metadata"].get("annotations") or {}
        self._note(
            "chart",
            obj,
            gone,
            obj["metadata"].get("generation"),
            status.is_deleted(obj),
            status.UNMANAGED in annotations,
            annotations.get(status.MANAGED_BY) or status.CONTROLLER,
            annotations.get(status.GIVEN_UP),
        )

    def _config_changed(self, obj: dict[str, Any], gone: bool) -> None:
        self._note("config", obj, gone, obj["metadata"].get("generation"))

    def _secret_changed(self, obj: dict[str, Any], gone: bool) -> None:
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        with self._changed:
            owners = [
                key for key, names in self._referenced.items() if key[0] == namespace and name in names
            ]
            for key in owners:
                self._enqueue(key)

    def _note(self, kind: str, obj: dict[str, Any], gone: bool, *fingerprint: Hashable) -> None:
        """Queues the chart, unless nothing relevant has changed (its status is not relevant)."""
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        with self._changed:
            if gone:
                self._seen.pop((kind, key), None)
                if kind == "chart":
                    self._referenced.pop(key, None)
                    self._errors.pop(key, None)
            elif self._seen.get((kind, key)) == fingerprint:
                return
            else:
                self._seen[(kind, key)] = fingerprint
            self._enqueue(key)

    def _enqueue(self, key: Key) -> None:
        now = time.monotonic()
        if run := self._running.get(key):
            run.changed = run.changed or now
        else:
            self._due[key] = now + _SETTLE
        self._changed.notify_all()

    def _refers(self, key: Key, names: frozenset[str]) -> None:
        with self._changed:
            self._referenced[key] = names
            begin = bool(names) and not self._watches_secrets
            self._watches_secrets = self._watches_secrets or begin
        if begin:
            self._watch(_SECRETS, self._secret_changed)

    def _schedule(self) -> None:
        while not self._stop.is_set():
            with self._changed:
                pause = self._begin_due()
                if pause is not None and not self._stop.is_set():
                    self._changed.wait(min(pause or _LONGEST_PAUSE, _LONGEST_PAUSE))
            if pause is None:
                # Another server holds the lease.
                self._held.wait(5.0)

    def _begin_due(self) -> float | None:
        """Starts the runs that are due and cancels those that must end.

        Returns the seconds until the next look, 0.0 to wait for a change, None to wait for the lease.
        """
        now = time.monotonic()
        held = self._held.is_set()
        for run in self._running.values():
            if not held or (run.changed is not None and now - run.changed > _GRACE):
                run.cancel.set()
        if held:
            self._acts = True
        elif self._acts and not self._running:
            # Another server may work from now on: look at every chart again when the lease is back.
            self._acts = False
            self._states.clear()
            self._due = {key: now for kind, key in self._seen if kind == "chart"} | self._due
        due = sorted((when, key) for key, when in self._due.items())
        if due and not held and not self._running:
            return None
        for when, key in due:
            young = sum(now - run.began < _LONG for run in self._running.values())
            if when > now or not held or young >= _AT_ONCE or len(self._running) >= _MOST:
                break
            del self._due[key]
            thread = threading.Thread(target=self._work_on, args=(key,), name=f"chart {key[1]}", daemon=True)
            self._running[key] = _Run(thread)
            thread.start()
        if self._running:
            return 1.0  # the lease may be lost, a place may become free
        return max(min(self._due.values()) - now, 0.05) if self._due else 0.0

    def _work_on(self, key: Key) -> None:
        with self._changed:
            cancel = self._running[key].cancel
        again: float | None = None
        errors = 0
        try:
            again = self._reconciler.reconcile(key, cancel, lambda names: self._refers(key, names))
        except Interrupted:
            again = 0.0
        except UserError as error:
            # The API rejected a request or did not answer.
            errors = self._errors.get(key, 0) + 1
            again = min(2.0 ** (errors - 1), _LONGEST_PAUSE)
            if errors > 3:
                journal.log(Level.WARNING, f"chart {key[0]}/{key[1]}: {error}; retrying in {again:g} s")
        except Exception:
            # A bug that one chart reveals must not stop the others.
            again = _AFTER_A_FAULT
            journal.log(Level.ERROR, f"chart {key[0]}/{key[1]}: {traceback.format_exc()}")
        with self._changed:
            run = self._running.pop(key)
            if errors:
                self._errors[key] = errors
            else:
                self._errors.pop(key, None)
            if run.changed is not None:
                again = 0.0
            if again is not None:
                self._due[key] = time.monotonic() + again
            self._changed.notify_all()

    def _end_runs(self) -> None:
        end = time.monotonic() + _PATIENCE
        with self._changed:
            runs = list(self._running.values())
        for run in runs:
            run.thread.join(max(end - time.monotonic(), 0))
            run.cancel.set()
        for run in runs:
            run.thread.join(5.0)
