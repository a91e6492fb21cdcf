"""Problems of the workloads of charts: from the API's workloads and pods to one line on each. Pure.

A rollout that is under way is no fault. It is one when its controller says so (the deadline of its progress
is over, a Job has failed, pods cannot be made), or when one of its pods has a reason of its own: an image
that cannot be pulled, a container that ends again and again or cannot be started, no node that takes it, or
ten minutes without being ready, which is the time that Kubernetes itself gives a Deployment's progress.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from rke2_units.cluster.api_time import seconds
from rke2_units.printable import line

Object = Mapping[str, Any]
# A release's namespace and name.
Release = tuple[str, str]

# What helm 3 and helm 4 put on everything of a release.
MANAGED_BY_HELM = "app.kubernetes.io/managed-by=Helm"
_RELEASE_NAME, _RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
# Reasons for which a container waits while all is well.
_UNDER_WAY = ("", "ContainerCreating", "PodInitializing")
# A container that has failed less often may have waited for something that is there by now.
_MANY_STARTS = 3
_LONG = 600.0
# How much of a text of others is read, and how much of it is shown.
_READ, _TOLD = 4000, 500
_RPC = re.compile(r"rpc error: code = \w+ desc = ")


@dataclass(frozen=True)
class Workload:
    """One Deployment, DaemonSet, StatefulSet or Job of a release.

    `wanted` and `ready` count pods. `complaint` is what its controller says to be wrong, `selector` finds
    its pods.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    release: Release
    wanted: int
    ready: int
    fine: bool
    complaint: str = ""
    selector: str = ""


class Trouble(IntEnum):
    """What keeps a pod from being ready, the most telling first."""

    IMAGE = 0
    CRASH = 1
    CONTAINER = 2
    UNSCHEDULABLE = 3
    FAILED = 4
    SLOW = 5


@dataclass(frozen=True)
class Ailment:
    """Why one pod is not ready. `said` is the API's own text on that; `container` is "" for the pod's."""

    trouble: Trouble
    pod: str
    uid: str
    said: str
    container: str = ""
    image: str = ""
    reason: str = ""
    starts: int = 0

    @property
    def lacks_words(self) -> bool:
        """Whether the reason has to be looked for elsewhere: in events, or in the container's log."""
        if self.trouble is Trouble.IMAGE:
            # Kubernetes before 1.32 says only while it tries why it cannot be pulled.
            return self.said in ("", f'Back-off pulling image "{self.image}"')
        return self.trouble in (Trouble.CRASH, Trouble.SLOW)


@dataclass(frozen=True)
class WorkloadState:
    """How a workload that is not (yet) as it should be is: `problem` is "" while a rollout is under way."""

    kind: str
    namespace: str
    name: str
    wanted: int
    ready: int
    problem: str = ""


@dataclass(frozen=True)
class Workloads:
    """Those of releases that are not (yet) fine; `problem` says why they are not known."""

    states: Mapping[Release, tuple[WorkloadState, ...]] = field(default_factory=dict)
    problem: str = ""


def workload(obj: Object) -> Workload | None:
    """What the API's object of one of the four kinds says; None for one that is of no release."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    if not annotations.get(_RELEASE_NAME):
        return None
    conditions = _conditions(status)
    kind = obj["kind"]
    wanted, ready, is_done = _COUNTS[kind](spec, status)
    observed = kind == "Job" or _number(status.get("observedGeneration")) >= _number(
        metadata.get("generation")
    )
    complaint = _complaint(kind, conditions)
    return Workload(
        kind=kind,
        namespace=str(metadata.get("namespace")),
        name=str(metadata["name"]),
        uid=str(metadata.get("uid")),
        release=(str(annotations.get(_RELEASE_NAMESPACE)), str(annotations[_RELEASE_NAME])),
        wanted=wanted,
        ready=ready,
        fine=observed and is_done and not complaint,
        complaint=complaint,
        selector=selector(spec.get("selector") or {}),
    )


def selector(written: Object) -> str:
    """A LabelSelector as a query has it: "app=web,tier in (a,b)"."""
    terms = [f"{key}={value}" for key, value in (written.get("matchLabels") or {}).items()]
    for each in written.get("matchExpressions") or ():
        key, values = each["key"], ",".join(each.get("values") or ())
        terms.append({
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": f"{key}",
            "DoesNotExist": f"!{key}",
        }[each["operator"]])  # fmt: skip
    return ",".join(terms)


def worst(pods: Sequence[Object], away: Collection[str], now: float) -> Ailment | None:
    """The most telling problem of the pods; None when no pod has a problem of its own.

    Pods on the nodes in `away`, which are not ready, are ignored: the node's own problem is reported.
    """
    found = [
        ailment
        for pod in pods
        if (pod.get("spec") or {}).get("nodeName") not in away and (ailment := _ailment(pod, now))
    ]
    return min(found, key=lambda each: each.trouble, default=None)


def event_words(ailment: Ailment | None, events: Sequence[Object]) -> str:
    """What the newest event says that tells why; "" without one."""
    wanted = f'Failed to pull image "{ailment.image}"' if ailment and ailment.image else ""
    telling = [each for each in events if wanted in str(each.get("message"))]
    newest = max(telling, key=lambda each: seconds(each.get("lastTimestamp")), default=None)
    return str(newest["message"])[:_READ].removeprefix(wanted).lstrip(": ") if newest else ""


def state(found: Workload, ailment: Ailment | None = None, words: str = "") -> WorkloadState:
    """How the workload is, with the ailment of its pods and the words that were looked for because of it."""
    reasons = [found.complaint] if found.kind == "Job" or not ailment else []
    if ailment:
        reasons.append(_described(ailment, words or ailment.said))
    elif words:
        reasons.append(words)
    problem = "; ".join(_told(reason) for reason in reasons if reason)
    if problem and found.kind != "Job":
        problem = f"{found.ready} of {found.wanted} ready: {problem}"
    return WorkloadState(
        found.kind, line(found.namespace), line(found.name), found.wanted, found.ready, problem
    )


def _deployment(spec: Object, status: Object) -> tuple[int, int, bool]:
    wanted, ready = _number(spec.get("replicas"), 1), _number(status.get("availableReplicas"))
    updated = bool(spec.get("paused")) or _number(status.get("updatedReplicas")) >= wanted
    return wanted, ready, updated and ready >= wanted


def _daemon_set(spec: Object, status: Object) -> tuple[int, int, bool]:
    wanted, ready = _number(status.get("desiredNumberScheduled")), _number(status.get("numberAvailable"))
    updated = _by_hand(spec) or _number(status.get("updatedNumberScheduled")) >= wanted
    # A DaemonSet that selects no node is reported, though that may be intended (for Windows, say).
    return wanted, ready, updated and ready >= wanted > 0


def _stateful_set(spec: Object, status: Object) -> tuple[int, int, bool]:
    wanted, ready = _number(spec.get("replicas"), 1), _number(status.get("readyReplicas"))
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    updated = _number(status.get("updatedReplicas")) >= wanted - _number(rolling.get("partition"))
    return wanted, ready, (_by_hand(spec) or updated) and ready >= wanted


def _job(spec: Object, status: Object) -> tuple[int, int, bool]:
    complete = _conditions(status).get("Complete", {}).get("status") == "True"
    wanted = _number(spec.get("completions"), 1)
    return wanted, _number(status.get("succeeded")), complete or bool(spec.get("suspend"))


_COUNTS = {
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "StatefulSet": _stateful_set,
    "Job": _job,
}


def _conditions(status: Object) -> dict[str, Object]:
    """The conditions by their types; malformed entries are ignored."""
    return {str(each.get("type")): each for each in status.get("conditions") or () if each}


def _number(value: object, default: int = 0) -> int:
    return value if isinstance(value, int) else default


def _by_hand(spec: Object) -> bool:
    """Whether pods are replaced when somebody deletes them, and not before."""
    return (spec.get("updateStrategy") or {}).get("type") == "OnDelete"


def _complaint(kind: str, conditions: Mapping[str, Object]) -> str:
    # Pods that cannot be made are the reason why there is no progress.
    wrong = {"Job": (("Failed", "True"),)}.get(kind, (("ReplicaFailure", "True"), ("Progressing", "False")))
    for name, status in wrong:
        found = conditions.get(name, {})
        if found.get("status") == status:
            return str(found.get("message") or found.get("reason") or name)
    return ""


def _ailment(pod: Object, now: float) -> Ailment | None:
    metadata, status = pod["metadata"], pod.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return None
    name, uid = str(metadata["name"]), str(metadata.get("uid"))
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    found = [each for container in containers if (each := _container_ailment(container, name, uid))]
    if found:
        return min(found, key=lambda each: each.trouble)
    conditions = _conditions(status)
    scheduled, ready = conditions.get("PodScheduled", {}), conditions.get("Ready", {})
    if scheduled.get("reason") == "Unschedulable":
        return Ailment(Trouble.UNSCHEDULABLE, name, uid, str(scheduled.get("message") or ""))
    if status.get("phase") == "Failed":
        said = ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
        return Ailment(Trouble.FAILED, name, uid, said)
    since = seconds(ready.get("lastTransitionTime"))
    if ready.get("status") == "False" and status.get("phase") != "Succeeded" and 0 < since < now - _LONG:
        return Ailment(Trouble.SLOW, name, uid, str(ready.get("message") or ""))
    return None


def _container_ailment(container: Object, pod: str, uid: str) -> Ailment | None:
    states, before = container.get("state") or {}, (container.get("lastState") or {}).get("terminated") or {}
    waiting, ended = states.get("waiting") or {}, states.get("terminated") or {}
    reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    starts = _number(container.get("restartCount")) + 1
    name, image = str(container.get("name")), str(container.get("image") or "")
    if "Image" in reason:
        return Ailment(Trouble.IMAGE, pod, uid, said, name, image, reason)
    # A machine that has rebooted leaves containers whose end nobody has seen.
    failed = _exit_code(before) and before.get("reason") != "Unknown"
    crashes = failed and not container.get("ready") and starts > _MANY_STARTS
    if reason == "CrashLoopBackOff" or _exit_code(ended) or crashes:
        last = ended if _exit_code(ended) else before
        why = f"exit code {last.get('exitCode')}"
        if last.get("reason") not in (None, "", "Error"):
            why = f"{last['reason']}, {why}"
        return Ailment(Trouble.CRASH, pod, uid, str(last.get("message") or ""), name, "", why, starts)
    if reason not in _UNDER_WAY:
        return Ailment(Trouble.CONTAINER, pod, uid, said, name, "", reason)
    return None


def _exit_code(terminated: Object) -> int:
    return _number(terminated.get("exitCode"))


def _described(ailment: Ailment, words: str) -> str:
    words = _RPC.sub("", words.removeprefix(f'Back-off pulling image "{ailment.image}": '))
    if ailment.trouble is Trouble.IMAGE:
        return f"image {ailment.image} cannot be pulled: {words or ailment.reason}"
    if ailment.trouble is Trouble.CRASH:
        often = f", started {ailment.starts} times" if ailment.starts > 1 else ""
        ended = f"container {ailment.container} of pod {ailment.pod} ends ({ailment.reason}{often})"
        return f"{ended}: {words}" if words else ended
    if ailment.trouble is Trouble.CONTAINER:
        return f"container {ailment.container} of pod {ailment.pod}: {ailment.reason}: {words}"
    if ailment.trouble is Trouble.UNSCHEDULABLE:
        return f"no node takes pod {ailment.pod}: {words}"
    if ailment.trouble is Trouble.FAILED:
        return f"pod {ailment.pod} has failed: {words}"
    return f"pod {ailment.pod} is not ready for more than {_LONG / 60:.0f} min: {words}"


def _told(text: str) -> str:
    text = line(text[:_READ])
    return text if len(text) <= _TOLD else text[: _TOLD - 1] + "…"
