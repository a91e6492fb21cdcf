"""The process of the helm-applier: its threads, from the first to the last signal, and what it says."""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback

from rke2_units import names
from rke2_units.applier.charts import states
from rke2_units.applier.charts.controller import Controller
from rke2_units.applier.manifests.loop import Manifests
from rke2_units.applier.settings import Settings
from rke2_units.coordination import lease as leases
from rke2_units.coordination.events import Events
from rke2_units.coordination.lease import Lease
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Client, Discovery
from rke2_units.errors import ExitCode

_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# The lease's name, the source of events.
_NAME = names.APPLIER_UNIT.removesuffix(".service")
# How often it is looked whether there is something new to say; in the beginning, by so much less.
_STATUS_INTERVAL = 5.0
_STATUS_STEP = 0.5
# Manifests end at once, charts within 13 s (Controller), and systemd waits 15.
_PATIENCE = 13.5


def run(settings: Settings) -> int:
    """Applies until SIGTERM; returns the exit code, which is a failure when a thread has died."""
    # Before the first thread, which inherits it: signals are taken below and nowhere else.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    faults: list[str] = []

    def died(arguments: threading.ExceptHookArgs) -> None:
        trace = traceback.format_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        name = arguments.thread.name if arguments.thread else "thread"
        journal.log(Level.ERROR, f"{name} ended: {arguments.exc_value!r}", TRACEBACK="".join(trace))
        faults.append(name)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.excepthook = died
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
    stop, stop_lease = threading.Event(), threading.Event()
    workers = [threading.Thread(target=manifests.run, name="manifests", daemon=True)]
    if settings.charts:
        controller = Controller(
            client,
            events,
            lease.held,
            helm=settings.helm,
            kubeconfig=settings.kubeconfig,
            work=settings.work,
            api_address=settings.url.removeprefix("https://"),
        )
        workers.append(threading.Thread(target=controller.run, args=(stop,), name="charts", daemon=True))
    holder = threading.Thread(target=lease.run, args=(stop_lease,), name="lease", daemon=True)
    for thread in (holder, *workers):
        thread.start()
    said, pause = "", 0.0
    while signal.sigtimedwait(_SIGNALS, pause) is None:
        text = status(lease.held.is_set(), [*manifests.problems(), *chart_problems(settings.work)])
        if text != said:
            journal.notify(READY=1, STATUS=text)
            said = text
        pause = min(_STATUS_INTERVAL, pause + _STATUS_STEP)
    journal.notify(STOPPING=1, STATUS="stopping")
    stop.set()
    manifests.stop()
    for thread in workers:
        thread.join(_PATIENCE)
    # Only now may another server begin.
    stop_lease.set()
    holder.join(leases.TIMEOUT)
    return ExitCode.FAILURE if faults else 0


def status(holds_lease: bool, problems: list[str]) -> str:
    """STATUS=, in one line."""
    if not holds_lease:
        return "waiting for the lease: another server applies, or the apiserver does not answer"
    if not problems:
        return "manifests and charts are applied as they change"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"degraded: {problems[0]}{more}"


def chart_problems(work: str) -> list[str]:
    """What is wrong with charts, a line each."""
    try:
        with open(f"{work}/{states.FILE_NAME}", encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return []
    return [
        f"chart {chart['namespace']}/{chart['name']}: {chart['words']}"
        for chart in found
        if chart["state"] in (states.FAILED, states.GIVEN_UP, states.INVALID)
    ]
