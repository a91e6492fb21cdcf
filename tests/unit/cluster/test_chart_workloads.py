"""What the status asks the API about charts' workloads: little, bounded, and more of what is not fine."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from rke2_units.certificates import kubeconfig
from rke2_units.cluster import chart_workloads
from rke2_units.cluster.charts import IN_CLUSTER, Chart
from rke2_units.cluster.workloads import MANAGED_BY_HELM, Workloads, WorkloadState
from rke2_units.errors import UserError
from tests.unit.kubernetes_api import ApiServer, Reply, Request, refused, served, unused_port

RELEASE = ("apps", "web")
IMAGE = "127.0.0.1:5000/web:1"
FINE = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
LISTS = [f"/apis/{kind}" for kind in
         ("apps/v1/deployments", "apps/v1/daemonsets", "apps/v1/statefulsets", "batch/v1/jobs")]  # fmt: skip


def deployment(name: str, status: dict[str, Any], release: tuple[str, str] = RELEASE) -> dict[str, Any]:
    annotations = {"meta.helm.sh/release-namespace": release[0], "meta.helm.sh/release-name": release[1]}
    metadata = {"namespace": "apps", "name": name, "uid": f"uid-{name}", "annotations": annotations}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}}
    return {"metadata": {**metadata, "resourceVersion": "1"}, "spec": spec, "status": status}


def pod(name: str, node: str = "node1", restarts: int = 4, **waiting: str) -> dict[str, Any]:
    container = {"name": "c", "image": IMAGE, "ready": False, "restartCount": restarts,
                 "state": {"waiting": waiting}, "lastState": {"terminated": {"exitCode": 1}}}  # fmt: skip
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1"},
        "spec": {"nodeName": node},
        "status": {"phase": "Pending", "containerStatuses": [container]},
    }


class Api:
    """A cluster's answers: the Deployments, the pods by label selector, events by uid, a container's log."""

    def __init__(self, server: ApiServer, kubeconfig: str) -> None:
        self.server = server
        self.kubeconfig = kubeconfig
        self.deployments: list[dict[str, Any]] = []
        self.pods: dict[str, list[dict[str, Any]]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.log = b""
        server.answer = self.answer

    def answer(self, request: Request) -> Reply:
        if request.path.endswith("/log"):
            return Reply(body=self.log) if self.log else refused(400, "BadRequest")
        items: list[dict[str, Any]] = []
        if request.path == LISTS[0]:
            items = self.deployments
        elif request.path == "/api/v1/namespaces/apps/pods":
            items = self.pods[request.query["labelSelector"]]
        elif request.path == "/api/v1/namespaces/apps/events":
            selected = request.query["fieldSelector"].removesuffix(",type=Warning")
            items = self.events[selected.removeprefix("involvedObject.uid=")]
        kind = "DeploymentList" if request.path == LISTS[0] else "List"
        return Reply(body={"kind": kind, "metadata": {"resourceVersion": "1"}, "items": items})

    def ask(self, away: Collection[str] = ()) -> Workloads:
        return chart_workloads.ask(self.kubeconfig, {RELEASE}, lambda: away, patience=5)

    def problem(self) -> str:
        (state,) = self.ask().states[RELEASE]
        return state.problem

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.server.requests]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    file = os.fspath(tmp_path / "admin.kubeconfig")
    with served() as server:
        Path(file).write_text(kubeconfig.with_paths(f"http://127.0.0.1:{server.port}", "/ca", "/admin"))
        yield Api(server, file)


def test_at_rest_four_lists_are_read_and_no_pod(api: Api) -> None:
    api.deployments = [deployment("web", FINE), deployment("other", {}, ("apps", "not-a-chart"))]
    assert api.ask() == Workloads()
    assert api.paths == LISTS
    assert {request.query["labelSelector"] for request in api.server.requests} == {MANAGED_BY_HELM}
    assert all(int(request.query["limit"]) <= 500 for request in api.server.requests)


def test_an_image_that_cannot_be_pulled_is_told_with_the_registrys_words(api: Api) -> None:
    api.deployments = [deployment("web", {})]
    message = f'Back-off pulling image "{IMAGE}"'
    api.pods = {"app=web": [pod("web-1", reason="ImagePullBackOff", message=message)]}
    refusal = {"message": f'Failed to pull image "{IMAGE}": rpc error: code = Unknown desc = refused',
               "lastTimestamp": "2026-11-22T10:00:00Z", "metadata": {"resourceVersion": "1"}}  # fmt: skip
    api.events = {"uid-web-1": [refusal]}
    assert api.problem() == f"0 of 1 ready: image {IMAGE} cannot be pulled: refused"


def test_a_container_that_ends_again_and_again_is_told_with_its_last_words(api: Api) -> None:
    api.deployments = [deployment("web", {})]
    api.pods = {"app=web": [pod("web-1", reason="CrashLoopBackOff")]}
    told = "0 of 1 ready: container c of pod web-1 ends (exit code 1, started 5 times)"
    assert api.problem() == told
    api.log = b'{"not": "an object"}\nError: no such host: \x1b[2Jdb\ngoodbye\n'
    assert api.problem() == f"{told}: Error: no such host: [2Jdb"
    log = api.server.requests[-1]
    assert log.path == "/api/v1/namespaces/apps/pods/web-1/log"
    assert log.query == {"container": "c", "previous": "true", "tailLines": "50", "limitBytes": "32768"}


def test_pods_that_cannot_be_made_are_told_by_the_workloads_own_event(api: Api) -> None:
    api.deployments = [deployment("web", {})]
    api.pods = {"app=web": []}
    event = {"message": "exceeded quota", "lastTimestamp": None, "metadata": {"resourceVersion": "1"}}
    api.events = {"uid-web": [event]}
    assert api.problem() == "0 of 1 ready: exceeded quota"


def test_a_rollout_under_way_is_told_and_is_no_problem(api: Api) -> None:
    api.deployments = [deployment("web", {})]
    api.pods = {"app=web": [pod("web-1", restarts=0, reason="ContainerCreating")]}
    assert api.ask() == Workloads({RELEASE: (WorkloadState("Deployment", "apps", "web", 1, 0),)})


def test_pods_of_nodes_that_are_not_ready_are_the_nodes_matter(api: Api) -> None:
    api.deployments = [deployment("web", {})]
    api.pods = {"app=web": [pod("web-1", "node9", reason="CrashLoopBackOff")]}
    assert [state.problem for state in api.ask(away={"node9"}).states[RELEASE]] == [""]


def test_only_the_first_few_that_are_not_fine_are_asked_for_their_reason(api: Api) -> None:
    names = [f"web{number}" for number in range(40)]
    api.deployments = [deployment(name, {}) for name in names]
    api.pods = {f"app={name}": [pod(name, reason="ErrImagePull", message="no")] for name in names}
    found = api.ask().states[RELEASE]
    assert len(found) == 40
    assert [bool(state.problem) for state in found] == [True] * 10 + [False] * 30
    assert len(api.paths) == len(LISTS) + 10


def test_a_workload_without_a_selector_never_lists_all_pods(api: Api) -> None:
    api.deployments = [{**deployment("web", {}), "spec": {"replicas": 1}}]
    assert [state.problem for state in api.ask().states[RELEASE]] == [""]
    assert api.paths == LISTS


def test_what_is_refused_about_one_keeps_nothing_back_of_the_others(api: Api) -> None:
    api.deployments = [deployment("gone", {}), deployment("web", {})]
    api.pods = {"app=web": [pod("web-1", reason="ErrImagePull", message="no")]}
    whole = api.answer
    api.server.answer = lambda request: (
        refused(403, "Forbidden") if request.query.get("labelSelector") == "app=gone" else whole(request)
    )
    assert [bool(state.problem) for state in api.ask().states[RELEASE]] == [False, True]


def helm_chart(name: str, owner: str = "helm-controller", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "apps", "name": name, "resourceVersion": "1",
                "annotations": {"helmcharts.cattle.io/managed-by": owner}}  # fmt: skip
    return {"metadata": metadata, "spec": {}, **more}


def test_a_server_that_does_not_see_to_the_charts_is_told_of_them_by_the_api(api: Api) -> None:
    failed = {"type": "Failed", "status": "True", "message": "timed\nout"}
    charts = [
        helm_chart("web", spec={"version": "1.2", "targetNamespace": "elsewhere"}),
        helm_chart("broken", status={"conditions": [failed]}),
        helm_chart("theirs", owner="another-controller"),
    ]
    body = {"kind": "HelmChartList", "metadata": {"resourceVersion": "1"}, "items": charts}
    api.server.answer = lambda request: Reply(body=body)
    assert chart_workloads.charts_of_cluster(api.kubeconfig, patience=5) == (
        Chart("apps", "web", "1.2", "", 0, IN_CLUSTER, 0, release_namespace="elsewhere"),
        Chart("apps", "broken", "", "", 0, "failed", 0, problem="timed out"),
    )
    assert api.paths == ["/apis/helm.cattle.io/v1/helmcharts"]
    api.server.answer = lambda request: refused(404, "NotFound")
    assert chart_workloads.charts_of_cluster(api.kubeconfig, patience=5) == ()
    api.server.answer = lambda request: refused(403, "Forbidden")
    with pytest.raises(UserError):
        chart_workloads.charts_of_cluster(api.kubeconfig, patience=5)
    os.unlink(api.kubeconfig)
    assert chart_workloads.charts_of_cluster(api.kubeconfig, patience=5) == ()


def test_an_api_that_refuses_or_is_silent_leaves_the_workloads_unknown(api: Api, tmp_path: Path) -> None:
    api.server.answer = lambda request: refused(403, "Forbidden", "deployments is forbidden")
    assert api.ask().problem == "deployments is forbidden"
    Path(api.kubeconfig).write_text(
        kubeconfig.with_paths(f"http://127.0.0.1:{unused_port()}", "/ca", "/admin")
    )
    assert "does not answer" in api.ask().problem
    os.unlink(api.kubeconfig)
    assert api.kubeconfig in api.ask().problem
