"""helm's releases in the cluster: their records, and the steps that change them."""

from __future__ import annotations

import threading

from rke2_units.applier.charts import chart, command, records
from rke2_units.applier.charts.chart import Release
from rke2_units.applier.charts.command import Paths, Version
from rke2_units.applier.charts.decision import Step
from rke2_units.applier.charts.helm import Ended, Helm
from rke2_units.applier.charts.records import Deployed, Record
from rke2_units.applier.charts.states import Key
from rke2_units.applier.charts.workspace import workspace
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client
from rke2_units.errors import UserError

# Each hook may take spec.timeout, and a chart has several; a helm that takes longer than all of them hangs.
_OPERATIONS = 6
_SHORTEST_LIMIT = 1800.0
# helm keeps ten records. Paging bounds the memory if somebody creates many more with large metadata.
_PAGE = 50


class Releases:
    """Thread-safe. The methods raise ApiError and ApiUnavailable."""

    def __init__(self, client: Client, helm: Helm, work: str) -> None:
        """`work`: a folder for helm's files."""
        self._client = client
        self._helm = helm
        self._work = work
        self._known: dict[Key, tuple[Record, Deployed]] = {}

    def version(self) -> tuple[Version, str]:
        """helm's version; UserError if helm cannot run or is too old."""
        return self._helm.version()

    def newest(self, driver: str, namespace: str, name: str) -> Record | None:
        """The record of the release's newest revision."""
        objects = self._client.list(
            records.path(driver, namespace),
            label_selector=records.selector(name),
            limit=_PAGE,
            metadata_only=True,
        )
        return records.latest(objects)

    def deployed(self, driver: str, namespace: str, name: str, record: Record) -> Deployed:
        """The details in the record, which is read once. Empty if they cannot be read."""
        key = (namespace, name)
        known = self._known.get(key)
        if known is None or known[0] != record:
            try:
                obj = self._client.get(records.path(driver, namespace, record.object))
                found = records.deployed(obj)
            except (ApiError, ApiUnavailable) as error:
                journal.log(Level.WARNING, str(error))
                return Deployed("", "", False)
            except UserError as error:
                # Remember this as well: a forged record must not cost time again and again.
                journal.log(Level.WARNING, str(error))
                found = Deployed("", "", False)
            known = self._known[key] = (record, found)
        return known[1]

    def take(
        self, key: Key, release: Release, record: Record | None, step: Step, stop: threading.Event
    ) -> Ended:
        """Takes one step with the release of the HelmChart `key`; `record` is its newest one."""
        if step is Step.ABORT:
            found = record.status if record else "missing"
            return Ended(f"the release is {found}; with failurePolicy abort it must be repaired by hand")
        try:
            if step is Step.SET_FAILED:
                return self._set_failed(release, record)
            if step is Step.UNINSTALL:
                return self.uninstall(
                    key, release.name, release.namespace, release.driver, stop, release.timeout
                )
            with workspace(self._work, release) as paths:
                return self._install_or_upgrade(key, release, record, step, paths, stop)
        except (ApiError, ApiUnavailable):
            raise
        except UserError as error:
            return Ended(str(error))

    def uninstall(
        self, key: Key, name: str, namespace: str, driver: str, stop: threading.Event, timeout: str = ""
    ) -> Ended:
        """Raises UserError if helm's folder cannot be created."""
        self._known.pop((namespace, name), None)
        with workspace(self._work) as paths:
            return self._helm.run(
                command.uninstall(name, namespace, timeout),
                paths.directory,
                driver,
                fields(key, namespace, name),
                limit=_limit(timeout),
                stop=stop,
            )

    def _install_or_upgrade(
        self,
        key: Key,
        release: Release,
        record: Record | None,
        step: Step,
        paths: Paths,
        stop: threading.Event,
    ) -> Ended:
        def run(arguments: list[str]) -> Ended:
            return self._helm.run(
                arguments,
                paths.directory,
                release.driver,
                fields(key, release.namespace, release.name),
                limit=_limit(release.timeout),
                stop=stop,
            )

        version, _ = self._helm.version()
        if release.repository:
            ended = run(command.update_repository(release, version))
            if ended.words:
                return Ended(f"{ended.words}: {ended.output}")
            if ended.interrupted:
                return ended
        server_side = False
        if step is Step.UPGRADE and record and release.force_conflicts and version >= (4, 0):
            server_side = self.deployed(release.driver, release.namespace, release.name, record).server_side
        self._known.pop((release.namespace, release.name), None)
        return run(
            command.install_or_upgrade(step, release, paths, version, applied_server_side=server_side)
        )

    def _set_failed(self, release: Release, record: Record | None) -> Ended:
        if record is not None:
            path = records.path(release.driver, release.namespace, record.object)
            self._client.merge_patch(path, records.failed(self._client.get(path)))
        return Ended()


def fields(key: Key, namespace: str, name: str) -> dict[str, str]:
    """The journal fields of a line about a chart and its release."""
    return {"HELM_CHART": f"{key[0]}/{key[1]}", "HELM_RELEASE": f"{namespace}/{name}"}


def _limit(timeout: str) -> float:
    return max(_SHORTEST_LIMIT, _OPERATIONS * chart.duration(timeout or "0s"))
