"""One HelmChart is brought to where it should be, and says how that went."""

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rke2_units.applier.charts.helm import Ended
from rke2_units.applier.charts.reconciler import Interrupted, chart_path, config_path
from rke2_units.doors.kubernetes import ApiUnavailable
from rke2_units.lean import chart_states
from tests.unit.applier.charts.cluster import KEY, Bench, bench
from tests.unit.kubernetes_api import Reply, Request, refused

MANAGED_BY = "helmcharts.cattle.io/managed-by"
FINALIZER = "wrangler.cattle.io/on-helm-chart-remove"
DELETED: dict[str, Any] = {
    "deletionTimestamp": "2026-01-02T03:04:05Z",
    "finalizers": [FINALIZER],
    "annotations": {MANAGED_BY: "helm-controller"},
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Bench]:
    with bench(str(tmp_path)) as found:
        yield found


def test_a_new_chart_is_claimed_and_installed_and_then_left_alone(here: Bench) -> None:
    here.cluster.chart()
    assert here.reconcile() is None
    assert here.helm.verbs == ["install"]
    found = here.cluster.objects[chart_path(KEY)]
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert here.cluster.annotations() == {MANAGED_BY: "helm-controller"}
    assert here.cluster.conditions()["JobCreated"]["status"] == "True"
    assert here.cluster.conditions()["Failed"] == {"type": "Failed", "status": "False"}
    assert here.events() == [
        ("ApplyJob", "Applying HelmChart from inline spec.chartContent with helm 3.17.0")
    ]
    state = here.states.get(KEY)
    assert (state.state, state.deployed, state.revision) == (chart_states.DEPLOYED, "1.0.0", 1)
    assert here.reconcile() is None
    assert here.helm.verbs == ["install"]


def test_nothing_is_written_to_a_chart_that_is_as_it_should_be(here: Bench) -> None:
    here.cluster.chart()
    here.reconcile()
    here.restart()
    before = len(here.server.requests)
    here.reconcile()
    assert {request.method for request in here.server.requests[before:]} == {"GET"}


def test_a_changed_configuration_is_an_upgrade(here: Bench) -> None:
    here.cluster.chart()
    here.reconcile()
    here.cluster.config({"valuesContent": "a: 1"})
    here.reconcile()
    here.cluster.config({"valuesContent": "a: 2"})
    here.reconcile()
    assert here.helm.verbs == ["install", "upgrade", "upgrade"]
    assert here.cluster.records() == {1: "deployed", 2: "deployed", 3: "deployed"}


def test_an_interrupted_upgrade_is_repaired_and_done_again(here: Bench) -> None:
    here.cluster.chart()
    here.cluster.record(1, "superseded")
    here.cluster.record(2, "pending-upgrade")
    assert here.reconcile() is None
    assert here.helm.verbs == ["upgrade"]
    assert here.cluster.records() == {1: "superseded", 2: "failed", 3: "deployed"}


def test_an_interrupted_installation_is_done_anew(here: Bench) -> None:
    here.cluster.chart()
    here.cluster.record(1, "pending-install")
    assert here.reconcile() is None
    assert here.helm.verbs == ["uninstall", "install"]
    assert here.cluster.records() == {1: "deployed"}


def test_a_failure_is_told_and_tried_again_by_the_failure_policy(here: Bench) -> None:
    here.cluster.chart()
    here.helm.fails = ["INSTALLATION FAILED: no", "", "INSTALLATION FAILED: no"]
    assert here.reconcile() == 10
    failed = here.cluster.conditions()["Failed"]
    assert (failed["status"], failed["message"]) == ("True", "INSTALLATION FAILED: no")
    state = here.states.get(KEY)
    assert (state.state, state.words, state.failures) == (chart_states.FAILED, "INSTALLATION FAILED: no", 1)
    assert here.reconcile() == 20
    assert here.helm.verbs == ["install", "uninstall", "install"]
    assert here.reconcile() is None
    assert here.cluster.conditions()["Failed"]["status"] == "False"
    assert here.states.get(KEY).state == chart_states.DEPLOYED
    assert ("JobFailed", "INSTALLATION FAILED: no") in here.events()


def test_the_policy_abort_leaves_a_failed_release_to_a_person(here: Bench) -> None:
    here.cluster.chart({"failurePolicy": "abort"})
    here.cluster.record(1, "failed")
    assert here.reconcile() == 10
    assert here.helm.verbs == []
    assert "must be repaired by hand" in here.cluster.conditions()["Failed"]["message"]
    here.cluster.record(2, "deployed")  # a person's helm rollback
    assert here.reconcile() is None
    assert here.helm.verbs == ["upgrade"]


def test_the_policy_retry_upgrades_a_failed_release(here: Bench) -> None:
    here.cluster.chart({"failurePolicy": "retry"})
    here.cluster.record(1, "failed")
    assert here.reconcile() is None
    assert here.helm.verbs == ["upgrade"]


def test_after_back_off_limit_it_is_given_up_until_something_changes(here: Bench) -> None:
    here.cluster.chart({"backOffLimit": 1, "failurePolicy": "retry"})
    here.helm.fails = ["no"] * 4
    assert here.reconcile() == 10
    assert here.reconcile() is None
    assert here.cluster.conditions()["Failed"]["reason"] == "Job failed"
    assert here.states.get(KEY).state == chart_states.GIVEN_UP
    for _ in range(2):
        here.restart()
        assert here.reconcile() is None
    assert here.helm.verbs == ["install", "upgrade"]
    here.cluster.config({"valuesContent": "a: 1"})
    here.helm.fails = []
    assert here.reconcile() is None
    assert here.helm.verbs == ["install", "upgrade", "upgrade"]
    assert set(here.cluster.annotations()) == {MANAGED_BY}


def test_the_version_is_told_anew_after_a_reinstallation(here: Bench) -> None:
    here.cluster.chart()
    here.reconcile()
    here.cluster.record(1, "failed")
    here.cluster.chart_version = "2.0.0"
    here.cluster.config({"valuesContent": "a: 1"})
    here.reconcile()
    assert here.helm.verbs == ["install", "uninstall", "install"]
    assert (here.states.get(KEY).revision, here.states.get(KEY).deployed) == (1, "2.0.0")


def test_a_record_that_cannot_be_read_is_told_as_a_failure(here: Bench) -> None:
    here.cluster.chart()
    here.cluster.record(1, "pending-upgrade")
    path = "/api/v1/namespaces/apps/secrets/sh.helm.release.v1.a.v1"
    here.cluster.objects[path]["data"]["release"] = "nonsense"
    assert here.reconcile() == 10
    assert "is not a release record of helm" in here.cluster.conditions()["Failed"]["message"]


def test_success_without_a_record_of_it_is_no_success(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    here.cluster.chart()
    monkeypatch.setattr(here.helm, "run", lambda *_, **__: Ended())
    assert here.reconcile() == 10
    assert "reported success" in here.cluster.conditions()["Failed"]["message"]


def test_a_missing_secret_is_waited_for_and_watched(here: Bench) -> None:
    here.cluster.chart({"valuesSecrets": [{"name": "s", "keys": ["k"]}]})
    assert here.reconcile() == 10
    assert here.referenced == {"s"}
    assert here.states.get(KEY).state == chart_states.WAITING
    assert here.cluster.conditions()["JobCreated"]["status"] == "False"
    assert "there is no Secret s" in here.cluster.conditions()["Failed"]["message"]
    here.cluster.add("/api/v1/namespaces/kube-system/secrets/s", {"data": {"k": "YTogMQ=="}})
    assert here.reconcile() is None
    (command,) = here.helm.commands
    assert any("values-0-002-HelmChart-ValuesSecret.yaml" in word for word in command)


def test_what_helm_could_not_take_waits_for_a_change(here: Bench) -> None:
    here.cluster.chart({"chartContent": "", "chart": "/etc"})
    assert here.reconcile() is None
    assert here.states.get(KEY).state == chart_states.INVALID
    assert "is a file name" in here.cluster.conditions()["Failed"]["message"]
    assert here.helm.commands == []


def test_helm_2_charts_are_refused_as_rke2_refuses_them(here: Bench) -> None:
    here.cluster.chart({"helmVersion": "v2"})
    assert here.reconcile() is None
    assert here.events() == [
        ("UnsupportedVersion", "Unsupported Helm version v2: only v3 charts are supported")
    ]
    assert here.cluster.conditions()["Failed"]["reason"] == "Unsupported version"
    assert here.helm.commands == []


@pytest.mark.parametrize(
    "annotations", [{MANAGED_BY: "rancher"}, {"helmcharts.helm.cattle.io/unmanaged": "true"}]
)
def test_a_chart_that_is_not_ours_is_left_alone(here: Bench, annotations: dict[str, str]) -> None:
    here.cluster.chart(annotations=annotations)
    assert here.reconcile() is None
    assert here.helm.commands == []
    assert {request.method for request in here.server.requests} == {"GET"}


def test_a_deleted_chart_is_uninstalled_and_then_let_go(here: Bench) -> None:
    here.cluster.chart(**DELETED)
    here.cluster.record(3, "deployed")
    assert here.reconcile() is None
    assert here.helm.commands == [["uninstall", "--namespace=apps", "--wait", "--", "a"]]
    assert chart_path(KEY) not in here.cluster.objects
    assert [reason for reason, _ in here.events()] == ["RemoveJob", "RemoveJob"]
    assert json.loads((Path(here.work) / "charts.json").read_text()) == []


def test_a_deleted_chart_without_a_release_is_let_go_without_helm(here: Bench) -> None:
    here.cluster.chart(**DELETED)
    assert here.reconcile() is None
    assert here.helm.commands == []
    assert chart_path(KEY) not in here.cluster.objects


def test_a_chart_whose_uninstallation_fails_stays(here: Bench) -> None:
    here.cluster.chart(**DELETED)
    here.cluster.record(3, "deployed")
    here.helm.fails = ["no"]
    assert here.reconcile() == 10
    assert chart_path(KEY) in here.cluster.objects
    assert here.states.get(KEY).words == "no"
    assert here.reconcile() is None
    assert chart_path(KEY) not in here.cluster.objects


def test_an_unmanaged_chart_can_be_deleted_and_its_release_stays(here: Bench) -> None:
    annotations = {MANAGED_BY: "helm-controller", "helmcharts.helm.cattle.io/unmanaged": "true"}
    here.cluster.chart(**{**DELETED, "annotations": annotations})
    here.cluster.record(3, "deployed")
    assert here.reconcile() is None
    assert chart_path(KEY) not in here.cluster.objects
    assert here.cluster.records() == {3: "deployed"}


def test_what_rke2s_jobs_left_of_a_deleted_chart_goes_with_it(here: Bench) -> None:
    here.cluster.chart(**DELETED)
    owned = {"annotations": {"objectset.rio.cattle.io/owner-name": "a"}}
    job = "/apis/batch/v1/namespaces/kube-system/jobs/helm-install-a"
    account = "/api/v1/namespaces/kube-system/serviceaccounts/helm-a"
    here.cluster.add(job, {"metadata": owned})
    here.cluster.add(account, {"metadata": {}})
    here.reconcile()
    assert job not in here.cluster.objects
    assert account in here.cluster.objects  # somebody else's


@pytest.mark.parametrize(
    ("status", "owner", "stays"),
    [({}, "a", False), ({"completionTime": "2026-01-02T03:04:05Z"}, "a", True), ({}, "other", True)],
)
def test_a_job_of_rke2s_that_is_not_done_is_ended_before_helm_runs(
    here: Bench, status: dict[str, str], owner: str, stays: bool
) -> None:
    here.cluster.chart()
    here.cluster.objects[chart_path(KEY)]["status"] = {"jobName": "helm-install-a"}
    job = "/apis/batch/v1/namespaces/kube-system/jobs/helm-install-a"
    annotations = {"objectset.rio.cattle.io/owner-name": owner}
    here.cluster.add(job, {"status": status, "metadata": {"annotations": annotations}})
    here.reconcile()
    assert (job in here.cluster.objects) is stays
    assert here.helm.verbs == ["install"]


def test_what_this_helm_lacks_is_said_in_the_status(here: Bench) -> None:
    here.cluster.chart({"forceConflicts": True})
    here.reconcile()
    assert "without forceConflicts (needs helm 4)" in here.cluster.conditions()["JobCreated"]["message"]
    assert here.states.get(KEY).remarks == "forceConflicts (needs helm 4)"


@pytest.mark.parametrize(("method", "forced"), [("ssa", True), ("csa", False)])
def test_helm_4_forces_conflicts_where_the_release_is_applied_by_the_server(
    here: Bench, method: str, forced: bool
) -> None:
    here.helm.told = (4, 2)
    here.cluster.chart({"forceConflicts": True})
    here.cluster.record(1, "deployed", method=method)
    here.reconcile()
    (command,) = here.helm.commands
    assert ("--force-conflicts" in command) is forced


def test_the_index_of_a_repository_is_fetched_first(here: Bench) -> None:
    here.cluster.chart({"chartContent": "", "chart": "demo", "repo": "https://r/"})
    here.helm.fails = ["no route"]
    assert here.reconcile() == 10
    assert here.helm.verbs == ["repo update"]
    assert here.reconcile() is None
    assert here.helm.verbs == ["repo update", "repo update", "install"]


def test_nothing_is_begun_once_it_is_to_end(here: Bench) -> None:
    here.cluster.chart()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        here.reconcile(stop)
    assert here.helm.commands == []


def test_a_full_disk_is_a_failure_like_helms_own(here: Bench, tmp_path: Path) -> None:
    here.cluster.chart()
    here.restart()
    here.reconciler._releases._work = f"{tmp_path}/missing"
    assert here.reconcile() == 10
    assert "cannot write helm's files" in here.cluster.conditions()["Failed"]["message"]


def test_an_api_that_is_away_is_the_callers(here: Bench) -> None:
    here.cluster.chart()
    here.client.close()
    with pytest.raises(ApiUnavailable):
        here.reconcile()


def test_a_chart_that_is_gone_is_forgotten(here: Bench) -> None:
    here.states.set(KEY, state=chart_states.DEPLOYED)
    assert here.reconcile() is None
    assert json.loads((Path(here.work) / "charts.json").read_text()) == []


BENT = "kube-system/configmaps?watch=true&x="


@pytest.mark.parametrize(
    "spec",
    [{"targetNamespace": BENT}, {"authSecret": {"name": BENT}}, {"repoCAConfigMap": {"name": "../x"}}],
)
def test_a_name_that_would_be_another_path_is_told_and_not_asked_for(
    here: Bench, spec: dict[str, Any]
) -> None:
    here.cluster.chart(spec)
    assert here.reconcile() is None
    state = here.states.get(KEY)
    assert state.state == chart_states.INVALID and "name" in state.words
    assert here.helm.commands == []
    assert not [request for request in here.server.requests if "watch" in request.query]
    asked = {request.path.removesuffix("/status") for request in here.server.requests}
    assert {path for path in asked if not path.endswith("/events")} <= {chart_path(KEY), config_path(KEY)}


def test_a_chart_for_a_namespace_that_cannot_be_can_be_deleted(here: Bench) -> None:
    here.cluster.chart({"targetNamespace": BENT}, **DELETED)
    assert here.reconcile() is None
    assert chart_path(KEY) not in here.cluster.objects
    assert here.helm.commands == []


def test_a_record_that_cannot_be_read_is_read_once(here: Bench) -> None:
    here.cluster.chart()
    here.reconcile()
    path = "/api/v1/namespaces/apps/secrets/sh.helm.release.v1.a.v1"
    packed = base64.b64encode(gzip.compress(b" " * (17 << 20)))
    here.cluster.objects[path]["data"]["release"] = base64.b64encode(packed).decode()
    here.restart()
    before = len(here.server.requests)
    for _ in range(3):
        assert here.reconcile() is None
    assert [request.path for request in here.server.requests[before:]].count(path) == 1
    state = here.states.get(KEY)
    assert (state.state, state.deployed, state.revision) == (chart_states.DEPLOYED, "", 1)


def test_a_record_that_the_api_does_not_give_is_asked_for_again(here: Bench) -> None:
    here.cluster.chart()
    here.reconcile()
    here.restart()
    path = "/api/v1/namespaces/apps/secrets/sh.helm.release.v1.a.v1"

    def away(request: Request) -> Reply:
        return refused(403, "Forbidden") if request.path == path else here.cluster(request)

    here.server.answer = away
    here.reconcile()
    assert here.states.get(KEY).deployed == ""
    here.server.answer = here.cluster
    here.reconcile()
    assert here.states.get(KEY).deployed == "1.0.0"


def test_the_journal_says_once_what_is_wrong_with_a_chart_and_that_it_is_mended(
    here: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    here.cluster.chart({"chartContent": "", "chart": "demo", "repo": "oci://r/x"})
    for _ in range(2):
        here.reconcile()
    assert capsys.readouterr().err.count("whole address into spec.chart: oci://r/x/demo") == 1
    here.cluster.chart({"chart": "oci://r/x/demo"})
    here.helm.fails = ["no route"]
    here.reconcile()
    assert "is resolved" not in capsys.readouterr().err
    for _ in range(2):
        here.reconcile()
    assert capsys.readouterr().err.count("chart kube-system/a: the problem is resolved") == 1
