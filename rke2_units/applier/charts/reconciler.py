"""Reconciles one HelmChart: reads it, decides on the steps, runs helm, records the result."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from rke2_units.applier.charts import archive, chart, command, decision, status
from rke2_units.applier.charts.chart import Missing, References, Release
from rke2_units.applier.charts.decision import Step
from rke2_units.applier.charts.helm import Ended, Helm
from rke2_units.applier.charts.records import Deployed, Record
from rke2_units.applier.charts.releases import Releases, fields
from rke2_units.applier.charts.states import Key, States
from rke2_units.applier.charts.status import Standing
from rke2_units.coordination.events import Events
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, path_to
from rke2_units.errors import UserError
from rke2_units.lean import chart_states

GROUP = "/apis/helm.cattle.io/v1"
_NAMESPACED_CHARTS = f"{GROUP}/namespaces"
_CORE = "/api/v1/namespaces"
_BATCH = "/apis/batch/v1/namespaces"
_CLUSTER_ROLE_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
# The entry in `_failures` of a chart that waits for a missing object.
_WAITED = ("missing", 0)
# The status of ApiError for an invalid name.
_NO_NAME = 422
# Objects that RKE2's helm-controller created carry the name of their HelmChart here.
_OWNER = "objectset.rio.cattle.io/owner-name"


class Interrupted(Exception):
    """helm was killed, or not started, because `stop` was set."""


def chart_path(key: Key) -> str:
    return path_to(_NAMESPACED_CHARTS, key[0], "helmcharts", key[1])


def config_path(key: Key) -> str:
    return path_to(_NAMESPACED_CHARTS, key[0], "helmchartconfigs", key[1])


class Reconciler:
    """Stateless but for how often each chart failed; threads may reconcile different charts at once."""

    def __init__(
        self, client: Client, events: Events, helm: Helm, states: States, *, work: str, api_address: str
    ) -> None:
        """`work`: a folder for helm's files. `api_address` replaces %{KUBERNETES_API} in addresses."""
        self._client = client
        self._events = events
        self._releases = Releases(client, helm, work)
        self._states = states
        self._api_address = api_address
        # By chart: the hash of the configuration that failed, and how often in a row.
        self._failures: dict[Key, tuple[str, int]] = {}

    def reconcile(
        self, key: Key, stop: threading.Event, referenced: Callable[[frozenset[str]], None]
    ) -> float | None:
        """Makes one attempt; returns the seconds until the next, None to wait for a change.

        `referenced` is called with the Secrets whose change is a change of the chart. When `stop` is set,
        helm is killed and Interrupted raised. Also raises ApiError and ApiUnavailable.
        """
        found = self._get(chart_path(key))
        if found is None:
            self._forget(key)
            return None
        whose = status.standing(found)
        if whose is Standing.OTHERS:
            self._forget(key)
            return None
        if whose is Standing.UNMANAGED:
            if status.is_deleted(found) and status.has_finalizer(found):
                self._patch(key, status.let_go(found))
            self._forget(key)
            return None
        if status.is_deleted(found):
            return self._remove(key, found, stop)
        if patch := status.claim(found):
            found = self._client.merge_patch(chart_path(key), patch)
        return self._apply(key, found, stop, referenced)

    def _apply(
        self,
        key: Key,
        found: dict[str, Any],
        stop: threading.Event,
        referenced: Callable[[frozenset[str]], None],
    ) -> float | None:
        if found["spec"].get("helmVersion") not in (None, "", "v3"):
            self._events.record(
                found,
                "UnsupportedVersion",
                f"Unsupported Helm version {found['spec']['helmVersion']}: only v3 charts are supported",
                warning=True,
            )
            self._invalid(key, found, status.unsupported(), "spec.helmVersion: only v3 is supported")
            return None
        config = self._get(config_path(key))
        names = chart.references(found, config)
        referenced(names.watched_secrets)
        try:
            secrets, config_maps = self._data(key, names)
            release = chart.release(found, config, secrets, config_maps, api_address=self._api_address)
        except Missing as error:
            return self._waiting(key, found, error)
        except ApiUnavailable:
            raise
        except UserError as error:
            if isinstance(error, ApiError) and error.status != _NO_NAME:
                raise
            self._invalid(key, found, status.not_begun(str(error)), str(error))
            return None
        try:
            version, version_text = self._releases.version()
        except UserError as error:
            return self._waiting(key, found, error)
        self._states.set(
            key,
            release_namespace=release.namespace,
            source=release.source,
            wanted=archive.version(release.content) if release.content is not None else release.version,
            remarks=", ".join(command.lacking(release, version)),
        )
        what = _what(release, version, version_text)
        record = self._releases.newest(release.driver, release.namespace, release.name)
        steps = decision.steps(record, release.hash, release.failure_policy)
        if not steps:
            self._done(key, found, release, what, record)
            return None
        if (found["metadata"].get("annotations") or {}).get(status.GIVEN_UP) == release.hash:
            self._states.set(key, state=chart_states.GIVEN_UP)
            return None
        if steps != (Step.ABORT,):
            if self._failures.get(key, ("", 0))[0] != release.hash:
                self._conditions(key, found, status.applied(what))
            self._events.record(found, "ApplyJob", what)
            self._end_job(key, found)
        words = self._take(key, release, record, steps, stop)
        if not words:
            record = self._releases.newest(release.driver, release.namespace, release.name)
            if not decision.steps(record, release.hash, release.failure_policy):
                self._done(key, found, release, what, record)
                return None
            words = (
                "helm reported success, but its newest record of the release is for another configuration"
            )
        return self._failed(key, found, release, what, words)

    def _data(self, key: Key, names: References) -> tuple[dict[str, chart.Data], dict[str, chart.Data]]:
        """The existing Secrets and ConfigMaps of these names."""
        secrets: dict[str, chart.Data] = {}
        for name in sorted(names.watched_secrets | names.other_secrets):
            if obj := self._get(path_to(_CORE, key[0], "secrets", name)):
                data = obj.get("data") or {}
                secrets[name] = {inner: base64.b64decode(text) for inner, text in data.items()}
        config_maps: dict[str, chart.Data] = {}
        for name in sorted(names.config_maps):
            if obj := self._get(path_to(_CORE, key[0], "configmaps", name)):
                data = obj.get("data") or {}
                config_maps[name] = {inner: text.encode() for inner, text in data.items()}
        return secrets, config_maps

    def _take(
        self,
        key: Key,
        release: Release,
        record: Record | None,
        steps: tuple[Step, ...],
        stop: threading.Event,
    ) -> str:
        """Takes the steps; returns helm's error message, "" if all succeeded."""
        for step in steps:
            if stop.is_set():
                raise Interrupted
            self._states.set(key, state=step.value, words="")
            ended = self._releases.take(key, release, record, step, stop)
            if ended.interrupted:
                raise Interrupted
            if ended.words:
                return ended.words
        return ""

    def _remove(self, key: Key, found: dict[str, Any], stop: threading.Event) -> float | None:
        if not status.has_finalizer(found):
            return None
        name, namespace = key[1], ""
        with suppress(UserError):  # nothing can be installed in an invalid namespace
            namespace = chart.release_namespace(found)
        spec = found["spec"]
        driver = "configmap" if spec.get("driver") == "configmap" else "secret"
        supported = spec.get("helmVersion") in (None, "", "v3")
        record = self._releases.newest(driver, namespace, name) if supported and namespace else None
        if decision.removal(record):
            if stop.is_set():
                raise Interrupted
            self._states.set(key, state=Step.UNINSTALL.value, words="")
            self._events.record(found, "RemoveJob", "Uninstalling HelmChart")
            try:
                self._releases.version()
                ended = self._releases.uninstall(key, name, namespace, driver, stop)
            except UserError as error:
                ended = Ended(str(error))
            if ended.interrupted:
                raise Interrupted
            if self._releases.newest(driver, namespace, name) is not None:
                return self._remove_failed(key, found, ended.words or "the release still exists")
            self._events.record(found, "RemoveJob", "Uninstalled HelmChart, removing resources")
        self._remove_jobs_objects(key)
        self._patch(key, status.let_go(found))
        self._forget(key)
        return None

    def _remove_failed(self, key: Key, found: dict[str, Any], words: str) -> float:
        failures = self._count(key, "deleted")
        pause = decision.pause(failures)
        self._events.record(found, "JobFailed", f"Uninstalling failed: {words}", warning=True)
        self._states.set(key, state=chart_states.FAILED, words=words, failures=failures)
        return pause

    def _end_job(self, key: Key, found: dict[str, Any]) -> None:
        """Deletes an unfinished Job of RKE2: it would run helm as well, and retry until it succeeds."""
        name = (found.get("status") or {}).get("jobName")
        if not name:
            return
        path = path_to(_BATCH, key[0], "jobs", name)
        if (job := self._get(path)) is None:
            return
        ours = (job["metadata"].get("annotations") or {}).get(_OWNER) == key[1]
        if ours and not (job.get("status") or {}).get("completionTime"):
            with suppress(ApiError):
                self._client.delete(path)

    def _remove_jobs_objects(self, key: Key) -> None:
        """Deletes what RKE2's helm-controller created for the chart, in a cluster that ran RKE2 before."""
        namespace, name = key
        for path in (
            path_to(_BATCH, namespace, "jobs", f"helm-install-{name}"),
            path_to(_BATCH, namespace, "jobs", f"helm-delete-{name}"),
            path_to(_CORE, namespace, "serviceaccounts", f"helm-{name}"),
            path_to(_CORE, namespace, "secrets", f"chart-values-{name}"),
            path_to(_CORE, namespace, "configmaps", f"chart-content-{name}"),
            path_to(_CLUSTER_ROLE_BINDINGS, f"helm-{namespace}-{name}"),
        ):
            obj = self._get(path)
            if obj and (obj["metadata"].get("annotations") or {}).get(_OWNER) == name:
                with suppress(ApiError):
                    self._client.delete(path)

    def _done(
        self, key: Key, found: dict[str, Any], release: Release, what: str, record: Record | None
    ) -> None:
        if self._failures.pop(key, _WAITED)[0] != _WAITED[0]:
            journal.log(
                Level.NOTICE,
                f"chart {key[0]}/{key[1]}: the problem is resolved",
                **fields(key, release.namespace, release.name),
            )
        self._conditions(key, found, status.applied(what))
        if status.GIVEN_UP in (found["metadata"].get("annotations") or {}):
            self._patch(key, {"metadata": {"annotations": {status.GIVEN_UP: None}}})
        details = (
            self._releases.deployed(release.driver, release.namespace, release.name, record)
            if record
            else Deployed("", "", False)
        )
        self._states.set(
            key,
            state=chart_states.DEPLOYED,
            since=_seconds(details.since),
            deployed=details.version,
            revision=record.revision if record else 0,
            words="",
            failures=0,
        )

    def _failed(
        self, key: Key, found: dict[str, Any], release: Release, what: str, words: str
    ) -> float | None:
        failures = self._count(key, release.hash)
        journal.log(
            Level.ERROR,
            f"chart {key[0]}/{key[1]}: {words}",
            **fields(key, release.namespace, release.name),
        )
        self._events.record(found, "JobFailed", words, warning=True)
        given_up = failures > release.back_off_limit
        pause = decision.pause(failures)
        self._states.set(
            key,
            state=chart_states.GIVEN_UP if given_up else chart_states.FAILED,
            words=words,
            failures=failures,
        )
        if given_up:
            self._patch(key, {"metadata": {"annotations": {status.GIVEN_UP: release.hash}}})
            self._conditions(key, found, status.given_up(what, words))
            return None
        self._conditions(key, found, status.failed(what, words))
        return pause

    def _waiting(self, key: Key, found: dict[str, Any], error: UserError) -> float:
        """Retries as often as a Job would be restarted: not everything that is missing is watched."""
        self._conditions(key, found, status.not_begun(str(error)))
        failures = self._count(key, _WAITED[0])
        pause = decision.pause(failures)
        self._states.set(key, state=chart_states.WAITING, words=str(error))
        return pause

    def _invalid(
        self, key: Key, found: dict[str, Any], conditions: list[dict[str, str]], words: str
    ) -> None:
        if self._states.get(key).words != words:
            journal.log(Level.ERROR, f"chart {key[0]}/{key[1]}: {words}", HELM_CHART=f"{key[0]}/{key[1]}")
        self._failures[key] = ("invalid", 0)
        self._conditions(key, found, conditions)
        self._states.set(key, state=chart_states.INVALID, words=words, failures=0)

    def _conditions(self, key: Key, found: dict[str, Any], conditions: list[dict[str, str]]) -> None:
        """Writes the conditions where they differ."""
        if (found.get("status") or {}).get("conditions") == conditions:
            return
        with suppress(ApiError):  # the chart may be deleted, and its status is no reason to stop
            found["status"] = self._client.merge_patch(
                chart_path(key), {"status": {"conditions": conditions}}, "status"
            ).get("status")

    def _count(self, key: Key, digest: str) -> int:
        known, count = self._failures.get(key, ("", 0))
        count = count + 1 if known == digest else 1
        self._failures[key] = (digest, count)
        return count

    def _patch(self, key: Key, patch: dict[str, Any]) -> None:
        try:
            self._client.merge_patch(chart_path(key), patch)
        except ApiError as error:
            if error.status != 404:
                raise

    def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return self._client.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _forget(self, key: Key) -> None:
        self._failures.pop(key, None)
        self._states.forget(key)


def _what(release: Release, version: command.Version, version_text: str) -> str:
    text = f"Applying HelmChart from {release.source} with helm {version_text}"
    if lacking := command.lacking(release, version):
        text += f", without {', '.join(lacking)}"
    return text


def _seconds(text: str) -> float:
    """Seconds since 1970 of RFC 3339 as helm writes it (up to nanoseconds); now if it cannot be parsed."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return time.time()
