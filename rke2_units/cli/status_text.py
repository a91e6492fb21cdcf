"""A node's status as people and programs read it: a tree, and JSON."""

import json
from dataclasses import asdict

from rke2_units.cluster.charts import Chart
from rke2_units.cluster.cluster_status import Cluster, ClusterNode
from rke2_units.cluster.workloads import WorkloadState
from rke2_units.node.snapshot_status import Snapshots
from rke2_units.node.spans import span
from rke2_units.node.status import Pod, Status, Unit
from rke2_units.printable import visible

_MIB = 1024 * 1024
# Longer than the causes of the daemon and the programs; the journal and JSON have the whole text.
_LONGEST = 600
_SNAPSHOTS = "snapshots of etcd"
# Two causes with this many characters in common print them once.
_FOLDED, _MOST_COMPARED = 80, 8


class _Told:
    """The causes that were printed, and where: a text that repeats an earlier one is not printed again."""

    def __init__(self) -> None:
        self._whole: list[tuple[str, str]] = []

    def cause(self, where: str, text: str) -> str:
        """The text as it is to be printed for `where`."""
        if len(text) >= _FOLDED:
            for place, earlier in self._whole[:_MOST_COMPARED]:
                if same := _in_common(earlier, text):
                    return _shortened(text.replace(same, f"(as {place} says)"))
            self._whole.append((where, text))
        return _shortened(text)


def _in_common(one: str, other: str) -> str:
    """The longest common run of words, "" if it is short."""
    # Slow to import, and needed only with several problems.
    from difflib import SequenceMatcher

    found = SequenceMatcher(None, one, other, autojunk=False).find_longest_match()
    start, end = found.b, found.b + found.size
    if start and other[start - 1] != " ":
        start = other.find(" ", start, end) + 1 or end
    if other[end : end + 1] not in ("", " "):
        end = other.rfind(" ", start, end)
    return other[start:end].strip() if end - start >= _FOLDED else ""


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def as_json(status: Status) -> str:
    """All of it, with `well` for the whole node."""
    return json.dumps({"well": status.well, **asdict(status)}, indent=2)


def as_tree(status: Status, now: float) -> str:
    """The tree, for a terminal; `now` is in seconds since the epoch. Its lines have only printable
    characters, even if units, charts, the API or logs contain others."""
    told = _Told()
    count = len(status.problems)
    summary = "all is well" if status.well else f"{count} problem{'s' if count > 1 else ''}"
    if status.next_release:
        summary += f"; {status.next_release} is installed and takes effect at the next restart"
    nodes = status.cluster.nodes if status.cluster else ()
    titles = [_title(chart) for chart in status.charts] + [f"node {node.name}" for node in nodes]
    titles += [_SNAPSHOTS] if status.snapshots else []
    width = max(len(name) for name in [*(unit.name for unit in status.units), *titles]) + 4
    role, *rest = status.units
    lines = [f"{status.role} {status.release}: {summary}", *_unit(role, "", "│ ", width, now, told)]
    for unit in rest:
        last = unit is rest[-1]
        lines += _unit(unit, "└─" if last else "├─", "  " if last else "│ ", width, now, told)
    if status.snapshots:
        lines += _snapshots(status.snapshots, width, now, told)
    for chart in status.charts:
        lines += _chart(chart, width, now, told)
    if status.cluster:
        lines.append(_summary(status.cluster))
    for node in nodes:
        lines += _node(node, width, now, told)
    if status.node_problem not in ("", *(node.problem for node in nodes)):
        lines.append(f"× this node: {told.cause('this node', status.node_problem)}")
    lines += [f"note: {remark}" for remark in status.remarks]
    return "\n".join(map(visible, lines))


def _unit(unit: Unit, branch: str, stem: str, width: int, now: float, told: _Told) -> list[str]:
    mark = "×" if unit.problem else "○" if unit.active == "inactive" else "●"
    readiness = {None: "", True: "ready", False: "not ready"}[unit.ready]
    columns = [
        f"{branch}{mark} {unit.name}".ljust(width),
        f"{unit.active} ({unit.sub})".ljust(22),
        _age(unit.since, now).rjust(8),
        _process(unit.pid, unit.memory).ljust(22),
        readiness or ("done" if unit.sub == "exited" else "" if unit.text in unit.problem else unit.text),
    ]
    lines = ["  ".join(columns).rstrip()]
    if unit.pod:
        lines.append(_pod(unit.pod, stem, width, now))
    if unit.problem:
        lines.append(f"{stem}  {told.cause(unit.name, unit.problem)}")
    return lines


def _snapshots(found: Snapshots, width: int, now: float, told: _Told) -> list[str]:
    mark = "×" if found.problem else "●" if found.is_scheduled else "○"
    last = f"{found.name}, {found.size / _MIB:.1f} MiB" if found.name else "none yet"
    upcoming = f"next in {span(found.next - now)}" if found.next else ""
    verified = ""
    if found.verified:
        whose = "verified" if found.verified == found.name else f"{found.verified} verified"
        finding = "good" if found.is_good else f"NOT GOOD: {found.finding}"
        verified = f"{whose} {_age(found.verified_time, now)} ago: {finding}"
    columns = [
        f"{mark} {_SNAPSHOTS}".ljust(width),
        ("scheduled" if found.is_scheduled else "not scheduled").ljust(22),
        _age(found.time, now).rjust(8),
        "; ".join(text for text in (last, upcoming, verified) if text),
    ]
    lines = ["  ".join(columns).rstrip()]
    if found.problem:
        lines.append(f"    {told.cause(_SNAPSHOTS, found.problem)}")
    return lines


def _title(chart: Chart) -> str:
    return f"chart {chart.namespace}/{chart.name}"


def _chart(chart: Chart, width: int, now: float, told: _Told) -> list[str]:
    mark = "×" if chart.problems else "●" if chart.state == "deployed" else "○"
    version = f"{chart.deployed}, revision {chart.revision}" if chart.deployed else ""
    is_there = chart.deployed and chart.wanted in ("", chart.deployed)
    wanted = "" if is_there else f"wanted: {chart.wanted or 'the newest'}"
    columns = [
        f"{mark} {_title(chart)}".ljust(width),
        chart.state.ljust(22),
        _age(chart.since, now).rjust(8),
        "; ".join(text for text in (version, wanted, chart.remarks) if text),
    ]
    lines = ["  ".join(columns).rstrip()]
    if chart.problem:
        lines.append(f"    {told.cause(_title(chart), chart.problem)}")
    return lines + [f"    {_workload(workload, told)}" for workload in chart.workloads]


def _workload(workload: WorkloadState, told: _Told) -> str:
    name = f"{workload.kind} {workload.namespace}/{workload.name}"
    if workload.problem:
        return f"× {name}: {told.cause(name, workload.problem)}"
    if not workload.wanted:
        return f"○ {name}: no node is selected to run it"
    return f"○ {name}: {workload.ready} of {workload.wanted} ready, in progress"


def _summary(cluster: Cluster) -> str:
    if cluster.problem:
        return f"cluster: unknown: {cluster.problem}"
    voters = sum(node.etcd == "voter" for node in cluster.nodes)
    ready = sum(node.ready for node in cluster.nodes)
    text = f"cluster: {ready} of {len(cluster.nodes)} nodes ready"
    return f"{text}, {voters} etcd voters" if voters else text


def _node(node: ClusterNode, width: int, now: float, told: _Told) -> list[str]:
    mark = "×" if node.problem else "●"
    etcd = f"etcd {node.etcd}" if node.etcd else ""
    snapshot = f"snapshot {_age(node.snapshot, now)} ago" if node.snapshot else ""
    columns = [
        f"{mark} node {node.name}".ljust(width),
        ("ready" if node.ready else "not ready").ljust(22),
        _age(node.since, now).rjust(8),
        "; ".join(
            text
            for text in (node.address, node.version, ", ".join(node.roles), etcd, snapshot, node.remarks)
            if text
        ),
    ]
    lines = ["  ".join(columns).rstrip()]
    if node.problem:
        lines.append(f"    {told.cause(f'node {node.name}', node.problem)}")
    return lines


def _pod(pod: Pod, stem: str, width: int, now: float) -> str:
    columns = [
        f"{stem}  └─ {pod.name}".ljust(width),
        "pod".ljust(22),
        _age(pod.since, now).rjust(8),
        _process(pod.pid, pod.memory).ljust(22),
        f"container {pod.container[:13]}" + (f", started {pod.starts} times" if pod.starts > 1 else ""),
    ]
    return "  ".join(columns).rstrip()


def _process(pid: int, memory: int) -> str:
    if not pid:
        return ""
    return f"PID {pid}" + (f", {memory / _MIB:.0f} MiB" if memory else "")


def _age(since: float, now: float) -> str:
    return span(now - since) if since else ""
