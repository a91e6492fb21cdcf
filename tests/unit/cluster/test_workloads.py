"""What charts installed is told as it is: rollouts that are under way, and what is wrong with its reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.cluster import workloads
from rke2_units.cluster.workloads import Trouble, WorkloadState, event_words, selector, state, worst

NOW = 1795341600.0  # 2026-11-22T10:00:00Z
IMAGE = "docker.io/rancher/web:1"
BACK_OFF = f'Back-off pulling image "{IMAGE}"'
NOT_FOUND = f'rpc error: code = NotFound desc = failed to pull "{IMAGE}": not found'
ANNOTATIONS = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "apps"}


def workload(kind: str, spec: dict[str, Any], status: dict[str, Any], **metadata: Any) -> workloads.Workload:
    own = {"namespace": "apps", "name": "web", "uid": "u1", "generation": 2, "annotations": ANNOTATIONS}
    observed = {} if kind == "Job" else {"observedGeneration": 2}
    obj = {"kind": kind, "metadata": {**own, **metadata}, "spec": spec, "status": {**observed, **status}}
    found = workloads.workload(obj)
    assert found is not None
    return found


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


FINE = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
STUCK = condition("Progressing", "False", reason="ProgressDeadlineExceeded", message="timed out progressing")
QUOTA = condition("ReplicaFailure", "True", reason="FailedCreate", message="exceeded quota")
FAILED = condition("Failed", "True", reason="BackoffLimitExceeded", message="reached its backoff limit")
SPREAD = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "counts", "fine", "complaint"),
    [
        ("Deployment", {"replicas": 2}, FINE, (2, 2), True, ""),
        ("Deployment", {"replicas": 0}, {}, (0, 0), True, ""),
        ("Deployment", {}, {}, (1, 0), False, ""),
        ("Deployment", {"replicas": 2}, {**FINE, "updatedReplicas": 1}, (2, 2), False, ""),
        ("Deployment", {"replicas": 2, "paused": True}, {**FINE, "updatedReplicas": 1}, (2, 2), True, ""),
        ("Deployment", {"replicas": 2}, {**FINE, "availableReplicas": 1}, (2, 1), False, ""),
        ("Deployment", {"replicas": 2}, {**FINE, "observedGeneration": 1}, (2, 2), False, ""),
        ("Deployment", {"replicas": 2}, {"conditions": [STUCK]}, (2, 0), False, "timed out progressing"),
        ("Deployment", {"replicas": 1}, {"conditions": [STUCK, QUOTA]}, (1, 0), False, "exceeded quota"),
        ("DaemonSet", {}, SPREAD, (3, 3), True, ""),
        ("DaemonSet", {}, {**SPREAD, "numberAvailable": 2}, (3, 2), False, ""),
        ("DaemonSet", {}, {**SPREAD, "updatedNumberScheduled": 1}, (3, 3), False, ""),
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, {**SPREAD, "updatedNumberScheduled": 1},
         (3, 3), True, ""),
        ("DaemonSet", {}, {"desiredNumberScheduled": 0}, (0, 0), False, ""),
        ("StatefulSet", {"replicas": 2}, FINE, (2, 2), True, ""),
        ("StatefulSet", {"replicas": 2}, {**FINE, "readyReplicas": 1}, (2, 1), False, ""),
        ("StatefulSet", {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
         {**FINE, "updatedReplicas": 1}, (2, 2), True, ""),
        ("Job", {}, {"succeeded": 1, "conditions": [condition("Complete", "True")]}, (1, 1), True, ""),
        ("Job", {"completions": 3}, {"succeeded": 1}, (3, 1), False, ""),
        ("Job", {"suspend": True}, {}, (1, 0), True, ""),
        ("Job", {}, {"conditions": [FAILED]}, (1, 0), False, "reached its backoff limit"),
    ],
)  # fmt: skip
def test_conditions_and_counts_tell_what_is_fine(
    kind: str,
    spec: dict[str, Any],
    status: dict[str, Any],
    counts: tuple[int, int],
    fine: bool,
    complaint: str,
) -> None:
    found = workload(kind, spec, status)
    assert ((found.wanted, found.ready), found.fine, found.complaint) == (counts, fine, complaint)
    assert found.release == ("apps", "web")


@pytest.mark.parametrize(
    "status",
    [{"observedGeneration": None}, {"conditions": [None, {}]}, {"conditions": [{"type": "Complete"}]}],
)
@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_fields_that_are_not_there_are_no_reason_to_give_up(kind: str, status: dict[str, Any]) -> None:
    assert not workload(kind, {}, status).fine
    pod = {"metadata": {"name": "p"}, "status": {**status, "containerStatuses": [{}]}}
    assert worst([pod], (), NOW) is None


def test_what_is_of_no_release_is_passed_over() -> None:
    assert workloads.workload({"kind": "Job", "metadata": {"name": "a", "annotations": None}}) is None


@pytest.mark.parametrize(
    ("written", "query"),
    [
        ({}, ""),
        ({"matchLabels": {"app": "web", "tier": "a"}}, "app=web,tier=a"),
        (
            {
                "matchLabels": {"app": "web"},
                "matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["x", "y"]},
                    {"key": "b", "operator": "NotIn", "values": ["z"]},
                    {"key": "c", "operator": "Exists"},
                    {"key": "d", "operator": "DoesNotExist", "values": None},
                ],
            },
            "app=web,a in (x,y),b notin (z),c,!d",
        ),
    ],
)
def test_a_selector_is_written_as_a_query_has_it(written: dict[str, Any], query: str) -> None:
    assert selector(written) == query


def pod(name: str = "web-1", node: str = "node1", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"nodeName": node}, "status": status}


def container(restarts: int = 0, last: dict[str, Any] | None = None, **state: Any) -> dict[str, Any]:
    found = {"name": "web", "image": IMAGE, "ready": False, "restartCount": restarts, "state": state}
    return {**found, "lastState": {"terminated": last}} if last else found


def waiting(
    reason: str, message: str = "", restarts: int = 0, last: dict[str, Any] | None = None
) -> dict[str, Any]:
    return container(restarts, last, waiting={"reason": reason, "message": message})


def containers(*statuses: dict[str, Any]) -> dict[str, Any]:
    return pod(phase="Pending", containerStatuses=list(statuses))


UNREADY = condition("Ready", "False", message="containers with unready status: [web]")
FULL = condition("PodScheduled", "False", reason="Unschedulable", message="0/1 nodes are available")
CRASHING = waiting("CrashLoopBackOff", "back-off 5m0s", 4, {"exitCode": 1, "reason": "Error"})
KILLED = waiting("CrashLoopBackOff", "back-off 5m0s", 4, {"exitCode": 137, "reason": "OOMKilled"})


@pytest.mark.parametrize(
    ("found", "words", "problem"),
    [
        (containers(waiting("ContainerCreating")), "", ""),
        (containers(container(running={})), "", ""),
        (pod(conditions=[condition("PodScheduled", "False", reason="SchedulingGated")]), "", ""),
        (
            containers(waiting("ErrImagePull", NOT_FOUND)),
            "",
            f'0 of 1 ready: image {IMAGE} cannot be pulled: failed to pull "{IMAGE}": not found',
        ),
        (
            containers(waiting("ImagePullBackOff", BACK_OFF)),
            NOT_FOUND,
            f'0 of 1 ready: image {IMAGE} cannot be pulled: failed to pull "{IMAGE}": not found',
        ),
        (
            containers(waiting("ImagePullBackOff", f"{BACK_OFF}: ErrImagePull: 403 Forbidden")),
            "",
            f"0 of 1 ready: image {IMAGE} cannot be pulled: ErrImagePull: 403 Forbidden",
        ),
        (
            containers(waiting("InvalidImageName", "couldn't parse it")),
            "",
            f"0 of 1 ready: image {IMAGE} cannot be pulled: couldn't parse it",
        ),
        (
            containers(CRASHING),
            "no such host: db",
            "0 of 1 ready: container web of pod web-1 ends (exit code 1, started 5 times): no such host: db",
        ),
        (
            containers(KILLED),
            "",
            "0 of 1 ready: container web of pod web-1 ends (OOMKilled, exit code 137, started 5 times)",
        ),
        (
            pod(phase="Pending", initContainerStatuses=[waiting("CreateContainerConfigError", "no secret")]),
            "",
            "0 of 1 ready: container web of pod web-1: CreateContainerConfigError: no secret",
        ),
        (pod(conditions=[FULL]), "", "0 of 1 ready: no node takes pod web-1: 0/1 nodes are available"),
        (
            pod(phase="Failed", reason="Evicted", message="low on memory"),
            "",
            "0 of 1 ready: pod web-1 has failed: Evicted: low on memory",
        ),
        (
            pod(phase="Running", conditions=[{**UNREADY, "lastTransitionTime": "2026-11-22T09:49:00Z"}]),
            "Readiness probe failed: HTTP 500",
            "0 of 1 ready: pod web-1 is not ready for more than 10 min: Readiness probe failed: HTTP 500",
        ),
        (
            pod(phase="Running", conditions=[{**UNREADY, "lastTransitionTime": "2026-11-22T09:55:00Z"}]),
            "",
            "",
        ),
        (containers(container(1, {"exitCode": 1}, running={})), "", ""),
        (containers(container(9, {"exitCode": 255, "reason": "Unknown"}, running={})), "", ""),
        (
            containers(container(3, {"exitCode": 2}, running={})),
            "",
            "0 of 1 ready: container web of pod web-1 ends (exit code 2, started 4 times)",
        ),
    ],
)
def test_a_rollout_is_a_fault_when_a_pod_has_a_reason_of_its_own(
    found: dict[str, Any], words: str, problem: str
) -> None:
    assert state(workload("Deployment", {}, {}), worst([found], (), NOW), words).problem == problem


def test_the_most_telling_of_all_pods_is_told() -> None:
    pods = [pod(conditions=[FULL]), containers(CRASHING), containers(waiting("ErrImagePull", "no")), pod()]
    found = worst(pods, (), NOW)
    assert found is not None and found.trouble is Trouble.IMAGE


def test_pods_that_go_and_those_of_nodes_that_are_away_count_for_nothing() -> None:
    going = containers(CRASHING)
    going["metadata"]["deletionTimestamp"] = "2026-11-22T09:00:00Z"
    assert worst([going], (), NOW) is None
    assert worst([containers(CRASHING)], {"node1"}, NOW) is None
    assert worst([containers(CRASHING)], {"node2"}, NOW) is not None


def test_a_failed_job_has_its_own_words_and_its_containers() -> None:
    ended = pod(phase="Failed", containerStatuses=[container(terminated={"exitCode": 3, "reason": "Error"})])
    job = workload("Job", {}, {"conditions": [FAILED]})
    assert state(job, worst([ended], (), NOW), "no disk").problem == (
        "reached its backoff limit; container web of pod web-1 ends (exit code 3): no disk"
    )
    assert state(job).problem == "reached its backoff limit"


def test_a_controller_that_can_make_no_pods_is_told_without_any() -> None:
    assert state(workload("DaemonSet", {}, SPREAD | {"numberAvailable": 0}), None, "exceeded quota") == (
        WorkloadState("DaemonSet", "apps", "web", 3, 0, "0 of 3 ready: exceeded quota")
    )
    stuck = workload("Deployment", {}, {"conditions": [STUCK]})
    assert state(stuck).problem == "0 of 1 ready: timed out progressing"


@pytest.mark.parametrize(
    ("found", "lacks"),
    [
        (containers(waiting("ImagePullBackOff", BACK_OFF)), True),
        (containers(waiting("ImagePullBackOff", f"{BACK_OFF}: 403")), False),
        (containers(CRASHING), True),
        (pod(conditions=[FULL]), False),
    ],
)
def test_words_are_asked_for_where_the_pod_has_none(found: dict[str, Any], lacks: bool) -> None:
    ailment = worst([found], (), NOW)
    assert ailment is not None and ailment.lacks_words is lacks


def test_the_newest_event_on_the_image_tells_why() -> None:
    ailment = worst([containers(waiting("ImagePullBackOff", BACK_OFF))], (), NOW)
    events: list[dict[str, Any]] = [
        {"message": f'Failed to pull image "{IMAGE}": old', "lastTimestamp": "2026-11-22T09:00:00Z"},
        {"message": f'Failed to pull image "{IMAGE}": {NOT_FOUND}', "lastTimestamp": "2026-11-22T09:01:00Z"},
        {"message": "Error: ImagePullBackOff", "lastTimestamp": "2026-11-22T09:59:00Z"},
        {"message": 'Failed to pull image "another": 1', "lastTimestamp": None},
    ]
    assert event_words(ailment, events) == NOT_FOUND
    assert event_words(ailment, events[2:]) == ""
    assert event_words(None, events) == "Error: ImagePullBackOff"
    assert event_words(None, []) == ""


@given(st.text(), st.text())
def test_foreign_texts_are_one_printable_line_within_bounds(message: str, words: str) -> None:
    for found in (waiting("ErrImagePull", message * 50), CRASHING, waiting(message, words)):
        ailment = worst([containers(found)], (), NOW)
        told = state(workload("Deployment", {}, {}, name=message), ailment, words * 50)
        assert told.problem.isprintable() and told.name.isprintable()
        assert len(told.problem) < 600
