"""The process of the helm-applier: its threads and its STATUS=."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from rke2_units.applier.charts.controller import Controller
from rke2_units.applier.manifests.loop import Manifests
from rke2_units.applier.settings import Settings
from rke2_units.coordination import lease as leases
from rke2_units.coordination import process
from rke2_units.coordination.events import Events
from rke2_units.coordination.lease import Lease
from rke2_units.doors.kubernetes import Client, Discovery
from rke2_units.lean import chart_states
from rke2_units.unit_names import APPLIER_UNIT

# The lease's name, the source of events.
_NAME = APPLIER_UNIT.removesuffix(".service")
# Seconds. The manifests thread ends at once, the charts thread within 13 s (Controller); systemd waits 15 s.
_PATIENCE = 13.5


def run(settings: Settings) -> int:
    """Applies manifests and charts until SIGTERM; returns the exit code, a failure if a thread has died."""
    client = Client(settings.url, settings.identity)
    events = Events(client, _NAME, settings.node_name)
    lease = Lease(
        Client(settings.url, settings.identity, timeout=leases.TIMEOUT),
        _NAME,
        leases.identity(settings.node_name),
        work="applies manifests and charts",
    )
    manifests = Manifests(
        client,
        Discovery(client),
        events,
        lease.held,
        folder=settings.manifests,
        disable=settings.disabled,
    )
    controller = Controller(
        client,
        events,
        lease.held,
        helm=settings.helm,
        kubeconfig=settings.kubeconfig,
        work=settings.work,
        api_address=settings.url.removeprefix("https://"),
    )
    workers: dict[str, Callable[[threading.Event], None]] = {
        "manifests": lambda stop: manifests.run(),
        "charts": controller.run,
    }

    def now() -> str:
        return status(lease.held.is_set(), [*manifests.problems(), *chart_problems(settings.work)])

    return process.run(workers, lease, now, patience=_PATIENCE, on_stop=manifests.stop)


def status(holds_lease: bool, problems: list[str]) -> str:
    """STATUS=, in one line."""
    if not holds_lease:
        return "waiting for the lease: another server holds it, or kube-apiserver does not answer"
    return process.summary(problems, "manifests and charts are applied as they change", APPLIER_UNIT)


def chart_problems(work: str) -> list[str]:
    """The problems of charts, one line each. `work` is the applier's folder."""
    try:
        with open(f"{work}/{chart_states.FILE_NAME}", encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return []
    return [
        f"chart {chart['namespace']}/{chart['name']}: {problem}"
        for chart in found
        if (problem := chart_states.problem(chart["state"], chart["words"]))
    ]
