"""The state of this node (unit, process, readiness, pod), its problems, and its cluster."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from rke2_units import layout, unit_names
from rke2_units.cluster import cluster_status
from rke2_units.cluster.charts import Chart, charts
from rke2_units.cluster.cluster_status import Cluster
from rke2_units.cluster.workloads import Workloads
from rke2_units.doors.run import run
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import Paths
from rke2_units.lean.containers import Containers
from rke2_units.lean.pod_logs import PodLog, most_telling
from rke2_units.lean.probe import Probe
from rke2_units.lean.settings import Settings
from rke2_units.node import causes, installation, pods, remarks, snapshot_status
from rke2_units.node.snapshot_status import Snapshots
from rke2_units.snapshots import records
from rke2_units.unit_table import UNITS, Start

_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,MainPID,MemoryCurrent,StatusText,NRestarts,"
    f"ActiveEnterTimestamp,StateChangeTimestamp,{snapshot_status.PROPERTIES}"
)
# Seconds that a component may take to answer: an administrator waits for the whole.
_PATIENCE = 2.0
# systemd's value for "unknown", such as the memory of a cgroup without accounting.
_UNKNOWN = 2**64 - 1
# Units that a timer or a socket starts: neither active nor inactive is a problem.
_MAY_REST = frozenset(unit.name for unit in UNITS if unit.start is Start.NOT_BY_DAEMON)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Pod:
    """A static pod's container; `starts` is how often the kubelet has started it."""

    name: str
    uid: str
    container: str
    pid: int
    since: float
    memory: int
    starts: int


@dataclass(frozen=True)
class Unit:
    """One unit. Times are seconds since the epoch, memory is in bytes; 0 for what is not known.

    `ready` is None for a unit without a health check; `problem` is "" when all is well with it.
    """

    name: str
    load: str
    active: str
    sub: str
    result: str
    since: float
    pid: int
    memory: int
    restarts: int
    text: str
    ready: bool | None = None
    waiting: str = ""
    pod: Pod | None = None
    problem: str = ""


@dataclass(frozen=True)
class Status:
    """The whole node; `units` begins with the role's own. `charts` and `cluster` are the cluster's.

    `release`: the running release; `next_release`: another one that the next start will run, else "".
    `node_problem`: what the cluster reports about this node itself. `cluster`: None for a node that has not
    joined one; it shows problems of other nodes, which are not problems of this one. `snapshots`: None for a
    node without etcd. `remarks` are not problems.
    """

    role: str
    release: str
    units: tuple[Unit, ...]
    charts: tuple[Chart, ...] = ()
    cluster: Cluster | None = None
    snapshots: Snapshots | None = None
    next_release: str = ""
    node_problem: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        every = (
            *(unit.problem for unit in self.units),
            *(problem for chart in self.charts for problem in chart.problems),
            self.snapshots.problem if self.snapshots else "",
            self.node_problem,
        )
        return tuple(problem for problem in every if problem)

    @property
    def well(self) -> bool:
        return not self.problems


def gather() -> Status:
    """The node's status; ConfigurationError when nothing is installed here. Root only."""
    installed = installation.read()
    if installed is None:
        raise ConfigurationError(
            "this machine is not a node yet", hint="rke2-units install --role server (or agent)"
        )
    if os.geteuid() != 0:
        raise UserError(
            "status requires keys that only root may read",
            hint="sudo rke2-units status; systemctl status",
        )
    paths = Paths(installed.data_directory)
    cluster = _meanwhile(
        lambda: cluster_status.ask(paths, _PATIENCE),
        lambda silent: Cluster(problem=silent),
    )
    settings = pods.planned_settings(paths)
    planned = _planned_units(settings)
    has_charts = unit_names.APPLIER_UNIT in planned
    chart_states = _charts_meanwhile(paths, charts(), cluster) if has_charts else lambda: ((), Workloads())
    wanted = (installed.role.unit, *planned)
    shown = parse_show(_show(wanted))
    units = [unit_from(name, shown.get(name, {})) for name in wanted]
    if settings is not None:
        units = _with_readiness(units, settings)
        units = [_with_pod(unit, settings, unit_names.static_pod_of(unit.name)) for unit in units]
    units = [replace(unit, problem=_problem(unit, settings)) for unit in units]
    if units[0].active != "active":
        # Units that are not started yet wait for the daemon, and one reason is enough.
        units[1:] = [replace(unit, problem="") if unit.active == "inactive" else unit for unit in units[1:]]
    every_chart, workloads = chart_states()
    unknown: tuple[str, ...] = ()
    if workloads.problem and units[0].active == "active":
        unknown = (f"the state of the charts' workloads is unknown: {workloads.problem}",)
    running = running_release(paths, units) or installed.release
    return Status(
        role=installed.role.value,
        release=running,
        units=tuple(units),
        charts=every_chart,
        cluster=cluster(),
        snapshots=_snapshots(units, shown, paths),
        next_release="" if running == installed.release else installed.release,
        node_problem=_node_problem(units[0], settings, cluster(), paths),
        remarks=(*unknown, *remarks.of_node(paths, _since(units, unit_names.IMAGES_UNIT))),
    )


def _charts_meanwhile(
    paths: Paths, noted: tuple[Chart, ...], cluster: Callable[[], Cluster | None]
) -> Callable[[], tuple[tuple[Chart, ...], Workloads]]:
    """Starts to fetch the workloads of the charts that this server's applier has noted, else of all."""

    def away() -> set[str]:
        known = cluster()
        return {node.name for node in known.nodes if not node.ready} if known else set()

    def ask() -> tuple[tuple[Chart, ...], Workloads]:
        # Not needed before a node's first start.
        from rke2_units.cluster import chart_workloads

        admin = paths.admin_kubeconfig
        try:
            found = noted or chart_workloads.charts_of_cluster(admin, patience=_PATIENCE)
        except UserError as error:
            return (), Workloads(problem=error.message)
        if not found:
            return (), Workloads()
        releases = {chart.release for chart in found}
        workloads = chart_workloads.ask(admin, releases, away, patience=_PATIENCE)
        return tuple(
            replace(chart, workloads=workloads.states.get(chart.release, ())) for chart in found
        ), workloads

    return _meanwhile(ask, lambda silent: (noted, Workloads(problem=silent)))


def _meanwhile(ask: Callable[[], _Answer], late: Callable[[str], _Answer]) -> Callable[[], _Answer]:
    """Starts `ask` in a thread; the returned function waits for its answer, or after a time calls `late`."""
    deadline = time.monotonic() + 2 * _PATIENCE
    answers: list[_Answer] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()

    def answer() -> _Answer:
        thread.join(max(0.0, deadline - time.monotonic()))
        silent = f"the Kubernetes API has not answered within {2 * _PATIENCE:.0f} s"
        return answers[0] if answers else late(silent)

    return answer


def _snapshots(units: list[Unit], shown: Mapping[str, Mapping[str, str]], paths: Paths) -> Snapshots | None:
    """This server's snapshots; None without etcd."""
    by_name = {unit.name: unit for unit in units}
    service, timer = (by_name.get(name) for name in (unit_names.SNAPSHOT_UNIT, unit_names.SNAPSHOT_TIMER))
    if service is None:
        return None
    now = time.time()
    found = snapshot_status.snapshots(
        records.read(paths.snapshot_records),
        snapshot_status.timer(shown.get(timer.name, {}), now, time.monotonic()) if timer else None,
        up_since=max(units[0].since, timer.since) if timer else 0.0,
        is_running=service.active in ("activating", "active"),
        now=now,
    )
    # One reason is enough.
    told = units[0].active != "active" or service.problem
    return replace(found, problem="") if told else found


def running_release(paths: Paths, units: list[Unit]) -> str:
    """The release whose programs run, by the folder that DATA/bin leads to; "" where that is not known."""
    if not any(unit.name == unit_names.KUBELET_UNIT and unit.active == "active" for unit in units):
        return ""
    try:
        folder = os.path.basename(os.path.dirname(os.readlink(paths.bin)))
    except OSError:
        return ""
    tag, _, digest = folder.rpartition("-")
    # A runtime image that is named by its digest does not contain the release.
    return tag.replace("-", "+", 1) if tag.startswith("v") and digest else ""


def _since(units: list[Unit], name: str) -> float:
    return next((unit.since for unit in units if unit.name == name and unit.active == "active"), 0.0)


def _node_problem(role: Unit, settings: Settings | None, cluster: Cluster | None, paths: Paths) -> str:
    """What the cluster reports about this node if it is not ready, after the daemon's start has ended."""
    if role.active != "active" or settings is None or cluster is None or cluster.problem:
        return ""
    own = next((node for node in cluster.nodes if node.name == settings.node_name), None)
    if own is None:
        restart = f"systemctl restart {unit_names.KUBELET_UNIT}"
        return f"the cluster has no Node {settings.node_name} (deleted?): {restart} registers it"
    if own.ready:
        return ""
    lacking = remarks.lacking_charts(paths)
    return f"{own.problem}; {lacking}" if lacking else own.problem


def _planned_units(settings: Settings | None) -> tuple[str, ...]:
    """This node's units, in starting order; with an existing containerd, for example, without that unit."""
    written = installation.written_files()
    components = settings.static_pods if settings else {}
    return tuple(
        unit.name
        for unit in UNITS
        if unit.start is not Start.INSTANCES
        and (
            unit_names.static_pod_of(unit.name) in components
            or f"{layout.UNIT_DIRECTORY}/{unit.name}" in written
        )
    )


def _show(units: tuple[str, ...]) -> str:
    # One call for all of them: another process costs as much as everything else here.
    command = ["systemctl", "show", f"--property={_PROPERTIES}", "--timestamp=unix", "--", *units]
    # What --timestamp= does not cover is in the time zone.
    return run(command, environment={"TZ": "UTC"}).output


def parse_show(text: str) -> dict[str, dict[str, str]]:
    """The properties by unit in the output of `systemctl show`: blocks of NAME=VALUE and blank lines."""
    found = {}
    for block in text.split("\n\n"):
        properties = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if "Id" in properties:
            found[properties["Id"]] = properties
    return found


def unit_from(name: str, properties: dict[str, str]) -> Unit:
    """The unit with these properties of `systemctl show --timestamp=unix`."""
    active = properties.get("ActiveState", "unknown")
    sub = properties.get("SubState", "")
    entered = "ActiveEnterTimestamp" if active == "active" else "StateChangeTimestamp"
    return Unit(
        name=name,
        load=properties.get("LoadState", "not-found"),
        active=active,
        sub=sub,
        result=properties.get("Result", ""),
        since=float(_figure(properties.get(entered, "").removeprefix("@"))),
        pid=_figure(properties.get("MainPID", "")),
        # With cgroup v1 systemd often does not account for it; then the memory of the main process.
        memory=_figure(properties.get("MemoryCurrent", ""))
        or _resident(_figure(properties.get("MainPID", ""))),
        restarts=_figure(properties.get("NRestarts", "")),
        # The last status of an ended program is no longer true.
        text=properties.get("StatusText", "") if active != "inactive" and sub != "exited" else "",
    )


def _figure(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    return 0 if value == _UNKNOWN else value


def _with_readiness(units: list[Unit], settings: Settings) -> list[Unit]:
    """Makes the health checks of all units at the same time."""
    answers: dict[str, str] = {}

    def ask(unit: str, check: str) -> None:
        probe = Probe(settings.health_checks[check], _PATIENCE)
        try:
            answers[unit] = probe.ask()
        finally:
            probe.close()

    threads = [
        threading.Thread(target=ask, args=(unit.name, check), daemon=True)
        for unit in units
        if unit.active != "inactive" and (check := unit_names.component(unit.name)) in settings.health_checks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [
        replace(unit, ready=not answers[unit.name], waiting=answers[unit.name])
        if unit.name in answers
        else unit
        for unit in units
    ]


def _with_pod(unit: Unit, settings: Settings, component: str) -> Unit:
    if not component:
        return unit
    tasks = [task for task in Containers(settings).tasks(component) if not task.is_sandbox]
    if not tasks:
        return unit
    # While a pod is replaced there are two for a moment; show the planned one.
    task = next((t for t in tasks if t.uid == settings.static_pods[component].uid), tasks[0])
    pid = _figure(_first_line(f"{task.bundle}/init.pid"))
    pod = Pod(
        name=task.pod,
        uid=task.uid,
        container=task.identifier,
        pid=pid,
        since=_changed(f"{task.bundle}/config.json"),
        memory=_resident(pid),
        starts=_starts(PodLog(component, settings.node_name, task.uid)),
    )
    return replace(unit, pod=pod)


def _starts(log: PodLog) -> int:
    # The logs are numbered from 0, and only the newest are kept.
    return max(log.starts(), default=-1) + 1


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _resident(pid: int) -> int:
    pages = _first_line(f"/proc/{pid}/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0


def _problem(unit: Unit, settings: Settings | None) -> str:
    """The problem of the unit, "" if it has none."""
    if unit.load == "masked":
        return "it is masked: systemctl unmask " + unit.name
    if unit.load != "loaded":
        return f"systemd has no such unit ({unit.load}): rke2-units install"
    if unit.name in _MAY_REST and unit.active != "failed":
        return ""
    if unit.active == "inactive":
        return f"it is stopped: systemctl start {unit.name}"
    if unit.active == "active":
        if unit.ready is False:
            return f"it is not ready: {unit.waiting}{_from_pod(unit, settings, unit.waiting)}"
        return unit.text if unit.text.startswith("degraded") else ""
    reasons = [
        f"result {unit.result}" if unit.result not in ("", "success") else unit.sub,
        unit.text or causes.explain(unit.name, causes.log_since(unit.name))[0],
    ]
    told = ": ".join(reason for reason in reasons if reason)
    return f"it is {unit.active}: {told}" + _from_pod(unit, settings, told)


def _from_pod(unit: Unit, settings: Settings | None, told: str) -> str:
    """The cause in the log of the unit's pod, if its container does not stay up and `told` lacks it."""
    name = unit_names.static_pod_of(unit.name)
    if settings is None or name not in settings.static_pods:
        return ""
    log = PodLog(name, settings.node_name, settings.static_pods[name].uid)
    down = unit.active == "failed" and unit.pod is None
    said = most_telling(log.lines()) if _starts(log) > 1 or down else ""
    return f"; its container says: {said}" if said and said not in told else ""
