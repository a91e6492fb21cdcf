"""Asks the API for the state of the charts' workloads, and for the cause of each problem.

Nobody keeps a list of pods for it: four lists of workloads when somebody wants to know, then the pods of the
first few that are not fine.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from urllib.parse import urlencode

from rke2_units.cluster import charts, kubernetes_api, workloads
from rke2_units.cluster.charts import Chart
from rke2_units.cluster.workloads import (
    Ailment,
    Object,
    Release,
    Trouble,
    Workload,
    Workloads,
    WorkloadState,
)
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, Resource, path_of
from rke2_units.errors import UserError
from rke2_units.lean.pod_logs import most_telling

_COLLECTIONS = (
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/statefulsets",
    "/apis/batch/v1/jobs",
)
_CHARTS = "/apis/helm.cattle.io/v1/helmcharts"
_PODS, _EVENTS = Resource("", "v1", "pods", True), Resource("", "v1", "events", True)
# Objects to a page, and workloads of a kind that are looked at: others than those of charts are among them.
_PAGE, _MOST = 250, 2000
# How many that are not fine are asked for their reason, and how many of a workload's pods and events.
_MOST_REASONS, _MOST_PODS, _MOST_EVENTS = 10, 50, 50
_LOG = {"tailLines": "50", "limitBytes": "32768"}


def ask(
    kubeconfig: str, releases: Collection[Release], away: Callable[[], Collection[str]], *, patience: float
) -> Workloads:
    """The workloads of these releases, asked with this identity; each answer may take `patience` seconds.

    `away` names the nodes whose pods count for nothing; it is called when there is a workload that is not
    fine. After twice the patience no more reasons are asked for.
    """
    client = kubernetes_api.client(kubeconfig, patience)
    if client is None:
        return Workloads(problem=f"there is no {kubeconfig}")
    until = time.monotonic() + 2 * patience
    try:
        found = [each for each in _all(client) if each.release in releases and not each.fine]
        nodes = away() if found else ()
        states: dict[Release, tuple[WorkloadState, ...]] = {}
        for number, each in enumerate(found):
            asked = number < _MOST_REASONS and time.monotonic() < until
            state = _state(client, each, nodes) if asked else workloads.state(each)
            states[each.release] = (*states.get(each.release, ()), state)
        return Workloads(states)
    except UserError as error:
        return Workloads(problem=error.message)
    finally:
        client.close()


def charts_of_cluster(kubeconfig: str, *, patience: float) -> tuple[Chart, ...]:
    """The cluster's charts, on a server that does not see to them itself. UserError when nobody can say."""
    client = kubernetes_api.client(kubeconfig, patience)
    if client is None:
        return ()
    try:
        listed = islice(client.list(_CHARTS, limit=_PAGE), _MOST)
        return tuple(filter(None, map(charts.of_object, listed)))
    except ApiError as error:
        if error.status == 404:  # There never was one.
            return ()
        raise
    finally:
        client.close()


def _all(client: Client) -> Iterable[Workload]:
    for path in _COLLECTIONS:
        listed = client.list(path, label_selector=workloads.MANAGED_BY_HELM, limit=_PAGE)
        yield from filter(None, map(workloads.workload, islice(listed, _MOST)))


def _state(client: Client, found: Workload, away: Collection[str]) -> WorkloadState:
    if not found.selector or not (found.wanted or found.complaint):
        return workloads.state(found)
    try:
        path = path_of(_PODS, found.namespace)
        pods = list(islice(client.list(path, label_selector=found.selector, limit=_MOST_PODS), _MOST_PODS))
        ailment = workloads.worst(pods, away, time.time())
        return workloads.state(found, ailment, _words(client, found, pods, ailment))
    except UserError:
        # The pod was deleted meanwhile, for example: report the workload's own condition.
        return workloads.state(found)


def _words(client: Client, found: Workload, pods: Sequence[Object], ailment: Ailment | None) -> str:
    if ailment is None:
        # Its controller tells of pods that it cannot make.
        return "" if pods or found.complaint else _events(client, found.namespace, found.uid, None)
    if not ailment.lacks_words:
        return ""
    if ailment.trouble is Trouble.CRASH:
        return ailment.said or _last_words(client, found.namespace, ailment)
    return _events(client, found.namespace, ailment.uid, ailment)


def _events(client: Client, namespace: str, uid: str, ailment: Ailment | None) -> str:
    query = urlencode({"fieldSelector": f"involvedObject.uid={uid},type=Warning"})
    events = client.list(path_of(_EVENTS, namespace) + "?" + query, limit=_MOST_EVENTS)
    return workloads.event_words(ailment, list(islice(events, _MOST_EVENTS)))


def _last_words(client: Client, namespace: str, ailment: Ailment) -> str:
    """The most telling line that the container wrote before it ended, wherever it runs."""
    path = f"{path_of(_PODS, namespace, ailment.pod)}/log"
    for previous in ("true", "false"):
        query = urlencode({"container": ailment.container, "previous": previous, **_LOG})
        try:
            text = client.text(path + "?" + query)
        except ApiError:
            continue  # It has not ended before.
        except ApiUnavailable:
            return ""
        if text.strip():
            return most_telling(text.splitlines())
    return ""
