"""The state of the cluster's charts, from the notes of this server's helm-applier or from their objects."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rke2_units import cluster_names, layout
from rke2_units.cluster.workloads import Release, WorkloadState
from rke2_units.doors import files
from rke2_units.lean import chart_states
from rke2_units.printable import line

_FILE = f"{layout.APPLIER_WORK}/{chart_states.FILE_NAME}"
# Of a chart's own words, such as its version; helm's are not longer.
_LONGEST = 1000
# The state of a chart that another server's applier manages: the cluster has no more about it.
IN_CLUSTER = "in the cluster"


@dataclass(frozen=True)
class Chart:
    """One HelmChart and its release; `since` is in seconds since the epoch, 0 for what is not known.

    `wanted` is "" for the newest version, `deployed` for none. `remarks` is what this helm cannot do of what
    the chart asks for, `problem` is "" when helm has done its work, else its own words. `workloads` are
    those of what it installed that are not (yet) as they should be.
    """

    namespace: str
    name: str
    wanted: str
    deployed: str
    revision: int
    state: str
    since: float
    remarks: str = ""
    problem: str = ""
    release_namespace: str = ""
    workloads: tuple[WorkloadState, ...] = ()

    @property
    def release(self) -> Release:
        return self.release_namespace or self.namespace, self.name

    @property
    def problems(self) -> tuple[str, ...]:
        every = (self.problem, *(workload.problem for workload in self.workloads))
        return tuple(problem for problem in every if problem)


def charts(path: str = _FILE) -> tuple[Chart, ...]:
    """All of them; none where no applier runs, or has not seen one."""
    text = files.read_text(path)
    try:
        found = json.loads(text) if text else []
    except ValueError:
        return ()
    return tuple(_chart(values) for values in found)


def of_object(obj: Mapping[str, Any]) -> Chart | None:
    """What a HelmChart (the API's JSON) tells of itself; None if no helm-applier manages it."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    if (metadata.get("annotations") or {}).get(
        cluster_names.CHART_OWNER_ANNOTATION
    ) != cluster_names.CHART_OWNER:
        return None
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    failed = conditions.get("Failed", {})
    is_failed = failed.get("status") == "True"
    return Chart(
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        wanted=line(spec.get("version") or ""),
        deployed="",
        revision=0,
        state=chart_states.FAILED if is_failed else IN_CLUSTER,
        since=0,
        problem=line(failed.get("message") or failed.get("reason") or "it has failed") if is_failed else "",
        release_namespace=str(spec.get("targetNamespace") or ""),
    )


def _chart(values: dict[str, object]) -> Chart:
    def said(key: str) -> str:
        return line(values.get(key) or "")[:_LONGEST]

    def figure(key: str) -> float:
        value = values.get(key)
        return value if isinstance(value, int | float) else 0

    return Chart(
        namespace=said("namespace"),
        name=said("name"),
        wanted=said("wanted"),
        deployed=said("deployed"),
        revision=int(figure("revision")),
        state=said("state"),
        since=figure("since"),
        remarks=said("remarks"),
        problem=chart_states.problem(said("state"), said("words")),
        release_namespace=said("release_namespace"),
    )
