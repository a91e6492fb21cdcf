"""The status is read from one answer of systemctl, health checks and bundles, and says what is not fine."""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rke2_units.cli.status_text import as_json, as_tree
from rke2_units.cluster import chart_workloads, cluster_status
from rke2_units.cluster import charts as node_charts
from rke2_units.cluster.charts import Chart, charts
from rke2_units.cluster.cluster_status import Cluster, ClusterNode
from rke2_units.cluster.workloads import Workloads, WorkloadState
from rke2_units.doors import files
from rke2_units.doors.run import Completed
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import UNIT_DIRECTORY, Paths
from rke2_units.lean.pod_logs import PodLog
from rke2_units.node import causes, installation, status
from rke2_units.node.installation import Installation
from rke2_units.node.remarks import of_configuration
from rke2_units.node.snapshot_status import Snapshots
from rke2_units.node.status import Pod, Status, Unit, gather, parse_show, unit_from
from rke2_units.unit_names import Role

SHOWN = """\
Type=oneshot
Id=rke2-content.service
LoadState=loaded
ActiveState=active
SubState=exited
Result=success
MainPID=0
MemoryCurrent=[not set]
StatusText=
NRestarts=0
ActiveEnterTimestamp=@1000
StateChangeTimestamp=@1000

Id=rke2-kubelet.service
LoadState=loaded
ActiveState=failed
SubState=failed
Result=exit-code
MainPID=0
MemoryCurrent=18446744073709551615
StatusText=a=b
NRestarts=3
ActiveEnterTimestamp=
StateChangeTimestamp=@2000
"""


def test_systemctl_is_read_block_by_block() -> None:
    shown = parse_show(SHOWN)
    assert list(shown) == ["rke2-content.service", "rke2-kubelet.service"]
    content = unit_from("rke2-content.service", shown["rke2-content.service"])
    kubelet = unit_from("rke2-kubelet.service", shown["rke2-kubelet.service"])
    assert (content.active, content.since, content.pid, content.memory) == ("active", 1000, 0, 0)
    assert (kubelet.active, kubelet.since, kubelet.restarts, kubelet.memory) == ("failed", 2000, 3, 0)
    assert kubelet.text == "a=b"
    assert unit_from("x.service", {}).load == "not-found"


HEALTH = {"/healthy": (200, b'{"health":"true"}'), "/sick": (500, b"[-]etcd failed: reason withheld\n")}


@pytest.fixture
def port() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = HEALTH[self.path]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


SNAPSHOT_UNIT, SNAPSHOT_TIMER = "rke2-etcd-snapshot.service", "rke2-etcd-snapshot.timer"
ETCD, APISERVER = "rke2-static-pod@etcd.service", "rke2-static-pod@kube-apiserver.service"


@pytest.fixture
def node(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """An installed node; returns the properties by unit that systemd will tell."""
    paths = Paths(os.fspath(tmp_path / "data"))
    settings = {
        "data_directory": paths.data,
        "node_name": "node1",
        "containerd_socket": os.fspath(tmp_path / "containerd" / "containerd.sock"),
        "content": {"image": "x", "directory": "v1", "archives": paths.images},
        "images": {"archives": paths.images},
        "static_pods": {
            name: {"image": "x", "staged": "/s", "manifest": "/m", "uid": f"uid-{name}"}
            for name in ("etcd", "kube-apiserver")
        },
        "health_checks": {
            "kubelet": {"url": f"http://127.0.0.1:{port}/healthy"},
            "etcd": {"url": f"http://127.0.0.1:{port}/healthy", "contains": "true"},
            "kube-apiserver": {"url": f"http://127.0.0.1:{port}/healthy"},
        },
    }
    files.write_atomic(paths.program_settings, json.dumps(settings), 0o644)
    bundle = tmp_path / "containerd" / "io.containerd.runtime.v2.task" / "k8s.io" / "c0ffee"
    for name, kind, own in (("c0ffee", "container", "etcd"), ("5a5a", "sandbox", "")):
        annotations = {
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.container-name": own,
            "io.kubernetes.cri.sandbox-id": "5a5a",
            "io.kubernetes.cri.sandbox-name": "etcd-node1",
            "io.kubernetes.cri.sandbox-namespace": "kube-system",
        }
        if kind == "sandbox":
            annotations["io.kubernetes.cri.sandbox-log-directory"] = (
                "/var/log/pods/kube-system_etcd-node1_uid-etcd"
            )
        place = bundle.parent / name
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps({"annotations": annotations}))
        (place / "init.pid").write_text(str(os.getpid()))
    running = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "MainPID": "7"}
    units = {
        name: {"Id": name, **running, "ActiveEnterTimestamp": "@1000", "StatusText": ""}
        for name in (
            "rke2-server.service",
            "rke2-content.service",
            "rke2-containerd.service",
            "rke2-kubelet.service",
            "rke2-images.service",
            ETCD,
            APISERVER,
        )
    }

    def run(
        command: list[str], timeout: float = 60, check: bool = True, environment: object = None
    ) -> Completed:
        if command[0] == "systemctl":
            assert environment == {"TZ": "UTC"}
            assert set(units) <= set(command)
            blocks = ("\n".join(f"{k}={v}" for k, v in unit.items()) for unit in units.values())
            return Completed(0, "\n\n".join(blocks) + "\n", "")
        assert command[0] == "journalctl"
        return Completed(0, "the last thing it said\n", "")

    monkeypatch.setattr(status, "run", run)
    monkeypatch.setattr(causes, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        installation, "read", lambda: Installation(Role.SERVER, "v1.36.4+rke2r1", paths.data)
    )
    written = [f"{UNIT_DIRECTORY}/{name}" for name in units]
    monkeypatch.setattr(installation, "written_files", lambda: written)
    return units


def problems(found: Status) -> dict[str, str]:
    return {unit.name: unit.problem for unit in found.units if unit.problem}


def test_units_that_the_plan_does_not_have_are_not_missed(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rke2-content.service", "rke2-containerd.service"):
        del node[name]
    written = [f"{UNIT_DIRECTORY}/{name}" for name in node]
    monkeypatch.setattr(installation, "written_files", lambda: written)
    found = gather()
    assert found.well
    assert [unit.name for unit in found.units] == list(node)


def test_the_units_of_joining_stand_where_they_start(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = node["rke2-server.service"]
    joining = ("rke2-supervisor.socket", "rke2-supervisor.service", "rke2-controllers.service")
    for name in joining:
        node[name] = {**properties, "Id": name}
    monkeypatch.setattr(installation, "written_files", lambda: [f"{UNIT_DIRECTORY}/{name}" for name in node])
    shown = [unit.name for unit in gather().units]
    assert shown[1:4] == ["rke2-supervisor.socket", "rke2-supervisor.service", "rke2-content.service"]
    assert shown[-2:] == [APISERVER, "rke2-controllers.service"]


def test_units_of_snapshots_may_rest_but_not_fail_and_a_template_is_no_unit(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = {"ActiveState": "inactive", "SubState": "dead"}
    started = ("rke2-etcd-snapshot-request.socket", "rke2-etcd-snapshot.timer")
    services = ("rke2-etcd-snapshot-verify.service", "rke2-etcd-snapshot.service")
    for name in (*started, *services):
        node[name] = {**node["rke2-server.service"], "Id": name, **(resting if name in services else {})}
    written = [f"{UNIT_DIRECTORY}/{name}" for name in (*node, "rke2-etcd-snapshot-request@.service")]
    monkeypatch.setattr(installation, "written_files", lambda: written)
    found = gather()
    assert found.well
    assert {unit.name for unit in found.units} == set(node)
    node[services[1]] |= {"ActiveState": "failed", "Result": "exit-code"}
    node[started[1]] |= resting
    assert problems(gather()) == {
        services[1]: "it is failed: result exit-code: the last thing it said",
        started[1]: f"it is stopped: systemctl start {started[1]}",
    }


@pytest.fixture
def snapshots(
    node: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, str]]:
    """The node takes a snapshot each hour; returns the properties by unit."""
    known = {"LoadState": "loaded", "ActiveEnterTimestamp": "@1000"}
    now = int(time.time())
    node[SNAPSHOT_TIMER] = {
        "Id": SNAPSHOT_TIMER, "ActiveState": "active", "SubState": "waiting", **known,
        "LastTriggerUSec": f"@{now - 1800}", "NextElapseUSecRealtime": f"@{now + 1800}",
        "NextElapseUSecMonotonic": "infinity",
    }  # fmt: skip
    node[SNAPSHOT_UNIT] = {"Id": SNAPSHOT_UNIT, "ActiveState": "inactive", "SubState": "dead", **known}
    monkeypatch.setattr(installation, "written_files", lambda: [f"{UNIT_DIRECTORY}/{name}" for name in node])
    return node


def keep_records(tmp_path: Path, **records: object) -> None:
    path = Paths(os.fspath(tmp_path / "data")).snapshot_records
    files.write_atomic(path, json.dumps(records), 0o600)


def before(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


def test_a_node_without_etcd_has_no_snapshots(node: dict[str, dict[str, str]]) -> None:
    assert gather().snapshots is None


def test_the_snapshots_of_a_server_are_read_from_its_records_and_its_timer(
    snapshots: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    keep_records(tmp_path, saved={"name": "a", "time": before(1800), "size": 5, "seconds": 1.0})
    found = gather()
    assert found.well and found.snapshots is not None
    assert (found.snapshots.name, found.snapshots.size, found.snapshots.is_scheduled) == ("a", 5, True)
    assert abs(found.snapshots.next - time.time() - 1800) < 60
    shown = json.loads(as_json(found))["snapshots"]
    assert (shown["name"], shown["problem"]) == ("a", "")


def test_a_schedule_that_failed_is_a_problem_of_the_node(
    snapshots: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    keep_records(tmp_path, failed={"time": before(60), "message": "no space left"})
    found = gather()
    assert found.problems == ("the scheduled snapshot failed 60 s ago: no space left",)
    # Once is enough: its unit says so too.
    snapshots[SNAPSHOT_UNIT].update({"ActiveState": "failed", "Result": "exit-code"})
    assert gather().problems == ("it is failed: result exit-code: the last thing it said",)
    # And nothing of a node that is stopped.
    for properties in snapshots.values():
        properties.update({"ActiveState": "inactive", "SubState": "dead"})
    assert len(gather().problems) == 1


def test_without_a_timer_nothing_is_missed(
    snapshots: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    del snapshots[SNAPSHOT_TIMER]
    found = gather()
    assert found.well and found.snapshots == Snapshots(is_scheduled=False)


def test_a_node_that_is_well_says_so(node: dict[str, dict[str, str]]) -> None:
    found = gather()
    assert found.well
    assert [unit.name for unit in found.units] == list(node)
    assert {unit.name: unit.ready for unit in found.units if unit.ready is not None} == {
        "rke2-kubelet.service": True,
        ETCD: True,
        APISERVER: True,
    }


def test_a_pod_is_shown_with_its_process_and_memory(node: dict[str, dict[str, str]]) -> None:
    (pod,) = [unit.pod for unit in gather().units if unit.pod]
    assert (pod.name, pod.uid, pod.container, pod.pid) == ("etcd-node1", "uid-etcd", "c0ffee", os.getpid())
    assert pod.memory > 1024 * 1024
    assert pod.since > 0


@pytest.mark.parametrize(
    ("unit", "changed", "problem"),
    [
        (
            "rke2-kubelet.service",
            {"ActiveState": "inactive"},
            "it is stopped: systemctl start rke2-kubelet.service",
        ),
        (
            "rke2-kubelet.service",
            {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"},
            "it is failed: result exit-code: the last thing it said",
        ),
        (
            ETCD,
            {"ActiveState": "activating", "SubState": "start-pre"},
            "it is activating: start-pre: the last thing it said",
        ),
        (
            "rke2-server.service",
            {"StatusText": "degraded: kubelet is stopped"},
            "degraded: kubelet is stopped",
        ),
        (
            "rke2-images.service",
            {"LoadState": "masked"},
            "it is masked: systemctl unmask rke2-images.service",
        ),
        (
            "rke2-images.service",
            {"LoadState": "not-found", "ActiveState": "inactive"},
            "systemd has no such unit (not-found): rke2-units install",
        ),
    ],
)
def test_what_is_not_fine_is_told_with_its_reason(
    node: dict[str, dict[str, str]], unit: str, changed: dict[str, str], problem: str
) -> None:
    node[unit].update(changed)
    found = gather()
    assert problems(found) == {unit: problem}
    assert not found.well


@pytest.mark.parametrize(
    ("active", "problem"),
    [("inactive", ""), ("activating", ""), ("active", ""), ("failed", "it is failed: result exit-code: ")],
)
def test_what_a_timer_starts_may_rest_or_work_but_not_fail(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, active: str, problem: str
) -> None:
    name = "rke2-images.service"
    monkeypatch.setattr(status, "_MAY_REST", {name})
    node[name].update({"ActiveState": active, "Result": "exit-code"})
    assert problems(gather()).get(name, "").startswith(problem)
    assert (name in problems(gather())) is (problem != "")


def test_a_node_that_is_stopped_has_one_reason(node: dict[str, dict[str, str]]) -> None:
    for properties in node.values():
        properties.update({"ActiveState": "inactive", "SubState": "dead", "StatusText": "what it did last"})
    found = gather()
    assert problems(found) == {"rke2-server.service": "it is stopped: systemctl start rke2-server.service"}
    assert {(unit.ready, unit.text) for unit in found.units} == {(None, "")}


def test_a_cluster_that_does_not_answer_holds_up_nobody(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(status, "_PATIENCE", 0.3)
    monkeypatch.setattr(cluster_status, "ask", lambda paths, timeout: answered.wait(20))
    began = time.monotonic()
    found = gather()
    answered.set()
    assert time.monotonic() - began < 10
    assert found.cluster is not None and "has not answered" in found.cluster.problem
    assert found.well


def test_a_fact_that_does_not_hold_is_told(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEALTH, "/healthy", HEALTH["/sick"])
    assert problems(gather())[APISERVER] == "it is not ready: HTTP 500, failed: etcd"


def test_another_user_than_root_is_told_to_become_root(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match="only root may read"):
        gather()


def test_a_container_that_is_started_again_and_again_is_quoted(
    node: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pods" / "kube-system_etcd-node1_uid-etcd" / "etcd"
    folder.mkdir(parents=True)
    monkeypatch.setattr(status, "PodLog", partial(PodLog, root=os.fspath(tmp_path / "pods")))
    node[ETCD].update({"ActiveState": "activating", "SubState": "start-post"})
    (folder / "3.log").write_text("2026-01-01T00:00:00Z stderr F Error: unknown flag: --nonsense\n")
    found = gather()
    assert problems(found)[ETCD].endswith("; its container says: Error: unknown flag: --nonsense")
    assert [unit.pod.starts for unit in found.units if unit.pod] == [4]


def test_a_machine_that_is_no_node_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "read", lambda: None)
    with pytest.raises(ConfigurationError, match="not a node yet.*rke2-units install"):
        gather()


NOT_READY = "it is not ready: cni plugin not initialized"


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (ClusterNode("node1", "", (), "", True, 0), ""),
        (ClusterNode("node1", "", (), "", False, 0, problem=NOT_READY), NOT_READY),
        (
            ClusterNode("node2", "", (), "", True, 0),
            "the cluster has no Node node1 (deleted?): systemctl restart rke2-kubelet.service registers it",
        ),
    ],
)
def test_this_very_node_has_to_be_ready(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, found: ClusterNode, problem: str
) -> None:
    away = ClusterNode("node3", "", (), "", False, 0, problem="it is not ready: another's matter")
    monkeypatch.setattr(cluster_status, "ask", lambda paths, timeout: Cluster((found, away)))
    told = gather()
    assert (told.node_problem, told.well) == (problem, not problem)
    assert (problem in as_tree(told, time.time())) and json.loads(as_json(told))["node_problem"] == problem
    # What is not through with its start has other reasons.
    node["rke2-server.service"].update({"ActiveState": "activating", "SubState": "start"})
    assert gather().node_problem == ""


def test_a_network_plugin_without_a_chart_is_named_with_the_node_that_waits_for_it(
    node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = Paths(os.fspath(tmp_path / "data"))
    staging = {"charts": paths.content, "network": ["rke2-canal"], "default_ingress": "traefik"}
    kubernetes = dict.fromkeys(("url", "authority", "certificate", "key"), "")
    settings = {"manifests": paths.manifests, "kubernetes": kubernetes, "staging": staging}
    files.write_atomic(paths.applier_settings, json.dumps(settings), 0o600)
    found = ClusterNode("node1", "", (), "", False, 0, problem=NOT_READY)
    monkeypatch.setattr(cluster_status, "ask", lambda paths, timeout: Cluster((found,)))
    assert gather().node_problem.startswith(f"{NOT_READY}; the runtime image has no chart rke2-canal, ")
    files.write_atomic(f"{paths.manifests}/rke2-canal.yaml", "", 0o600)
    assert gather().node_problem == NOT_READY


BROKEN = WorkloadState("Deployment", "kube-system", "dns", 1, 0, "0 of 1 ready: image x cannot be pulled")
UNDER_WAY = WorkloadState("DaemonSet", "kube-system", "net", 3, 2)
NOWHERE = WorkloadState("DaemonSet", "kube-system", "windows", 0, 0)


@pytest.fixture
def dns(node: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Chart:
    """The node has a helm-applier, and this chart."""
    node["rke2-helm-applier.service"] = {**node["rke2-server.service"], "Id": "rke2-helm-applier.service"}
    monkeypatch.setattr(installation, "written_files", lambda: [f"{UNIT_DIRECTORY}/{name}" for name in node])
    chart = Chart("kube-system", "dns", "1", "1", 1, "deployed", 1.0)
    monkeypatch.setattr(status, "charts", lambda: (chart,))
    return chart


@pytest.mark.parametrize(
    ("workloads", "problems"),
    [((), ()), ((UNDER_WAY, NOWHERE), ()), ((BROKEN, UNDER_WAY), (BROKEN.problem,))],
)
def test_a_chart_is_well_when_its_workloads_are(
    dns: Chart,
    monkeypatch: pytest.MonkeyPatch,
    workloads: tuple[WorkloadState, ...],
    problems: tuple[str, ...],
) -> None:
    def ask(*given: object, **more: object) -> Workloads:
        assert given[1] == {("kube-system", "dns")}
        return Workloads({("kube-system", "dns"): workloads})

    monkeypatch.setattr(chart_workloads, "ask", ask)
    found = gather()
    assert (found.problems, found.well) == (problems, not problems)
    assert found.charts == (replace(dns, workloads=workloads),)
    shown = as_tree(found, time.time())
    mark = "×" if problems else "●"
    assert f"{mark} chart kube-system/dns" in shown
    assert [line.strip() for line in shown.splitlines() if "    ○" in line or "    ×" in line] == [
        line
        for state, line in (
            (BROKEN, "× Deployment kube-system/dns: 0 of 1 ready: image x cannot be pulled"),
            (UNDER_WAY, "○ DaemonSet kube-system/net: 2 of 3 ready, in progress"),
            (NOWHERE, "○ DaemonSet kube-system/windows: no node is selected to run it"),
        )
        if state in workloads
    ]


def test_every_server_tells_of_the_charts_whoever_sees_to_them(
    node: dict[str, dict[str, str]], dns: Chart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "charts", lambda: ())
    monkeypatch.setattr(chart_workloads, "charts_of_cluster", lambda kubeconfig, patience: (dns,))
    states = Workloads({dns.release: (BROKEN,)})
    monkeypatch.setattr(chart_workloads, "ask", lambda *given, **more: states)
    found = gather()
    assert found.charts == (replace(dns, workloads=(BROKEN,)),) and not found.well

    def refuse(kubeconfig: str, patience: float) -> tuple[Chart, ...]:
        raise UserError("helmcharts is forbidden")

    monkeypatch.setattr(chart_workloads, "charts_of_cluster", refuse)
    found = gather()
    assert found.well
    assert found.remarks == ("the state of the charts' workloads is unknown: helmcharts is forbidden",)
    for properties in node.values():
        properties.update({"ActiveState": "inactive", "SubState": "dead"})
    # Of a node that is stopped nobody expects to know.
    assert gather().remarks == ()


@pytest.mark.usefixtures("dns")
def test_workloads_that_are_not_known_hold_up_nobody_and_are_said_not_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(status, "_PATIENCE", 0.3)
    monkeypatch.setattr(chart_workloads, "ask", lambda *given, **more: answered.wait(20) and Workloads())
    began = time.monotonic()
    found = gather()
    answered.set()
    assert time.monotonic() - began < 10
    assert found.well
    (remark,) = found.remarks
    assert remark.startswith("the state of the charts' workloads is unknown: the Kubernetes API has not ans")
    assert f"note: {remark}" in as_tree(found, time.time())


def test_a_release_in_another_namespace_is_its_own() -> None:
    chart = Chart("kube-system", "dns", "", "", 0, "deployed", 0)
    assert chart.release == ("kube-system", "dns")
    assert replace(chart, release_namespace="dns").release == ("dns", "dns")
    assert node_charts._chart({"namespace": "a", "name": "b", "release_namespace": "c"}).release == (
        "c",
        "b",
    )


@pytest.mark.parametrize(
    ("link", "kubelet", "running", "coming"),
    [
        ("v1.35.1-rke2r2-0123456789ab", "active", "v1.35.1+rke2r2", "v1.36.4+rke2r1"),
        ("v1.36.4-rke2r1-0123456789ab", "active", "v1.36.4+rke2r1", ""),
        ("v1.35.1-rke2r2-0123456789ab", "inactive", "v1.36.4+rke2r1", ""),
        ("0123456789abcdef", "active", "v1.36.4+rke2r1", ""),
        (None, "active", "v1.36.4+rke2r1", ""),
    ],
)
def test_the_release_is_the_one_whose_programs_run(
    node: dict[str, dict[str, str]],
    tmp_path: Path,
    link: str | None,
    kubelet: str,
    running: str,
    coming: str,
) -> None:
    paths = Paths(os.fspath(tmp_path / "data"))
    if link:
        os.symlink(f"{paths.content}/{link}/bin", paths.bin)
    node["rke2-kubelet.service"]["ActiveState"] = kubelet
    found = gather()
    assert (found.release, found.next_release) == (running, coming)
    first = as_tree(found, time.time()).splitlines()[0]
    assert first.startswith(f"server {running}: ")
    assert first.endswith(f"; {coming} is installed and takes effect at the next restart") or not coming


def test_what_rke2_would_do_and_is_not_done_is_noted_and_is_no_problem(
    node: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    paths = Paths(os.fspath(tmp_path / "data"))
    assert gather().remarks == ()
    os.makedirs(paths.containerd_etc)
    Path(f"{paths.containerd_etc}/config-v3.toml.tmpl").touch()
    os.makedirs(paths.images)
    for name in ("new.tar.zst", "list.txt", "notes.md"):
        Path(f"{paths.images}/{name}").touch()
    found = gather()
    template, images = found.remarks
    assert found.well
    assert "config-v3.toml.tmpl is not read" in template and template.endswith("/config-v3.toml.d")
    assert images == (
        f"new.tar.zst and 1 more in {paths.images}, added after the import: "
        "systemctl restart rke2-images.service"
    )
    node["rke2-images.service"]["ActiveEnterTimestamp"] = f"@{int(time.time()) + 5}"
    assert gather().remarks == of_configuration(paths) == (template,)


CAUSE = "image docker.io/rancher/rke2-runtime:v1 is in no archive of /var/lib/images and no registry has it"


def test_a_long_cause_stands_once_and_the_others_refer_to_it() -> None:
    shown = Status(
        "server",
        "v1",
        (
            unit("rke2-server.service", text=f"failed: {CAUSE}", problem=f"it is failed: {CAUSE}"),
            unit("rke2-content.service", problem=f"it is failed: result exit-code: {CAUSE}"),
            unit(ETCD, problem=f"it waits for {CAUSE}; its container says: nothing"),
            unit("rke2-kubelet.service", problem="it is stopped"),
        ),
    )
    lines = [line.strip(" │") for line in as_tree(shown, 1300.0).splitlines()]
    assert sum(CAUSE in line for line in lines) == 1
    assert f"it is failed: {CAUSE}" in lines
    assert "it is failed: result exit-code: (as rke2-server.service says)" in lines
    assert "it waits for (as rke2-server.service says); its container says: nothing" not in lines
    assert any(line.startswith("it waits for (as rke2-server.service says)") for line in lines)
    assert json.loads(as_json(shown))["units"][1]["problem"].endswith(CAUSE)


def unit(name: str, **changed: object) -> Unit:
    made = unit_from(
        name,
        {
            "LoadState": "loaded",
            "ActiveState": "active",
            "SubState": "running",
            "ActiveEnterTimestamp": "@1000",
        },
    )
    return replace(made, **changed)  # type: ignore[arg-type]


TREE = Status(
    "server",
    "v1.36.4+rke2r1",
    (
        unit("rke2-server.service", pid=10, memory=42 * 1024 * 1024, text="running"),
        unit("rke2-kubelet.service", pid=11, ready=True),
        unit(
            ETCD,
            ready=False,
            problem="it is not ready: connection refused",
            pod=Pod("etcd-node1", "uid", "c0ffee" * 10, 12, 1090.0, 0, 4),
        ),
    ),
)


def test_the_tree_shows_unit_process_readiness_and_pod() -> None:
    lines = [" ".join(line.split()) for line in as_tree(TREE, now=1300.0).splitlines()]
    assert lines == [
        "server v1.36.4+rke2r1: 1 problem",
        "● rke2-server.service active (running) 5 min PID 10, 42 MiB running",
        "├─● rke2-kubelet.service active (running) 5 min PID 11 ready",
        "└─× rke2-static-pod@etcd.service active (running) 5 min not ready",
        "└─ etcd-node1 pod 3 min PID 12 container c0ffeec0ffeec, started 4 times",
        "it is not ready: connection refused",
    ]


def test_the_snapshots_follow() -> None:
    def line(found: Snapshots) -> str:
        shown = as_tree(replace(TREE, snapshots=found), now=10_000.0).splitlines()
        return next(" ".join(line.split()) for line in shown if "snapshots of etcd" in line)

    good = Snapshots(True, "a", 2800.0, 3 << 19, 20_000.0, "a", 9_700.0, True, "it can be restored")
    assert line(good) == (
        "● snapshots of etcd scheduled 2 h a, 1.5 MiB; next in 2 h; verified 5 min ago: good"
    )
    assert line(Snapshots(True, next=10_090.0)) == "● snapshots of etcd scheduled none yet; next in 90 s"
    assert line(Snapshots(False)) == "○ snapshots of etcd not scheduled none yet"
    bad = replace(good, verified="b", is_good=False, finding="2 differences")
    assert line(bad).endswith("; b verified 5 min ago: NOT GOOD: 2 differences")
    tree = as_tree(replace(TREE, snapshots=replace(good, problem="it failed\x1b")), now=10_000.0)
    assert "2 problems" in tree and "\n    it failed \n" in f"{tree}\n"


def test_the_charts_follow_with_their_versions_and_helms_words() -> None:
    shown = replace(
        TREE,
        charts=(
            Chart("kube-system", "rke2-coredns", "1.47.003", "1.47.003", 2, "deployed", 1090.0),
            Chart("default", "mine", "2.0", "1.9", 4, "failed", 1240.0, problem="timed out waiting"),
            Chart("default", "new", "", "", 0, "install", 1299.0, remarks="helm 3 has no serverSide"),
        ),
    )
    lines = [" ".join(line.split()) for line in as_tree(shown, now=1300.0).splitlines()]
    assert lines[0] == "server v1.36.4+rke2r1: 2 problems"
    assert lines[-4:] == [
        "● chart kube-system/rke2-coredns deployed 3 min 1.47.003, revision 2",
        "× chart default/mine failed 60 s 1.9, revision 4; wanted: 2.0",
        "timed out waiting",
        "○ chart default/new install 1 s wanted: the newest; helm 3 has no serverSide",
    ]
    assert json.loads(as_json(shown))["charts"][1]["problem"] == "timed out waiting"


def test_what_the_applier_notes_of_charts_is_read(tmp_path: Path) -> None:
    file = tmp_path / "charts.json"
    noted = {"namespace": "default", "name": "mine", "wanted": "2.0", "deployed": "1.9", "revision": 4,
             "state": "failed", "since": 12.5, "words": "timed out", "failures": 3}  # fmt: skip
    file.write_text(json.dumps([noted, {**noted, "state": "deployed", "words": "old"}]))
    failed, deployed = charts(os.fspath(file))
    assert failed == Chart("default", "mine", "2.0", "1.9", 4, "failed", 12.5, "", "timed out")
    assert deployed.problem == ""
    file.write_text("[")
    assert charts(os.fspath(file)) == charts(os.fspath(tmp_path / "none")) == ()


def test_json_holds_the_same() -> None:
    read = json.loads(as_json(TREE))
    assert read["well"] is False
    assert [each["name"] for each in read["units"]] == [each.name for each in TREE.units]
    assert read["units"][2]["pod"]["starts"] == 4
