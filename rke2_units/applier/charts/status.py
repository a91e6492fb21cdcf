"""What a HelmChart's object says about itself: claims, finalizer and conditions, as RKE2 has them.

Pure: patches (RFC 7386) come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from rke2_units import cluster_names

Object = Mapping[str, Any]

MANAGED_BY, CONTROLLER = cluster_names.CHART_OWNER_ANNOTATION, cluster_names.CHART_OWNER
UNMANAGED = "helmcharts.helm.cattle.io/unmanaged"
FINALIZER = "wrangler.cattle.io/on-helm-chart-remove"
# The hash of the configuration that failed more often than backOffLimit; without it, it is tried again.
GIVEN_UP = "rke2-units/given-up"
_LONGEST_MESSAGE = 2000


class Standing(Enum):
    """Whose a HelmChart is."""

    OURS = "ours"
    # Ours once it is claimed.
    FREE = "free"
    OTHERS = "another controller's"
    # Nobody's: annotated so, or without any chart.
    UNMANAGED = "not managed"


def standing(chart: Object) -> Standing:
    annotations = chart["metadata"].get("annotations") or {}
    spec = chart.get("spec") or {}
    if UNMANAGED in annotations or not (spec.get("chart") or spec.get("chartContent")):
        return Standing.UNMANAGED
    owner = annotations.get(MANAGED_BY)
    if owner is None:
        return Standing.FREE
    return Standing.OURS if owner == CONTROLLER else Standing.OTHERS


def is_deleted(chart: Object) -> bool:
    return bool(chart["metadata"].get("deletionTimestamp"))


def has_finalizer(chart: Object) -> bool:
    return FINALIZER in (chart["metadata"].get("finalizers") or [])


def claim(chart: Object) -> dict[str, Any] | None:
    """The patch that makes the chart ours, with the finalizer; None when it is so."""
    if standing(chart) is Standing.OURS and has_finalizer(chart):
        return None
    finalizers = chart["metadata"].get("finalizers") or []
    return {
        "metadata": {
            "annotations": {MANAGED_BY: CONTROLLER},
            "finalizers": [*(name for name in finalizers if name != FINALIZER), FINALIZER],
            "resourceVersion": chart["metadata"]["resourceVersion"],
        }
    }


def let_go(chart: Object) -> dict[str, Any]:
    """The patch that takes our finalizer away."""
    others = [name for name in chart["metadata"].get("finalizers") or [] if name != FINALIZER]
    return {
        "metadata": {"finalizers": others or None, "resourceVersion": chart["metadata"]["resourceVersion"]}
    }


def unsupported() -> list[dict[str, str]]:
    """spec.helmVersion is not v3."""
    return _conditions("False", "", "", "True", "Unsupported version", "Only Helm v3 charts are supported")


def not_begun(why: str) -> list[dict[str, str]]:
    return _conditions("False", "", "", "True", "Job create failed", f"Failed to generate Job: {why}")


def applied(what: str) -> list[dict[str, str]]:
    """helm is at it or is done."""
    return _conditions("True", "Job created", what, "False", "", "")


def failed(what: str, words: str) -> list[dict[str, str]]:
    """helm failed, and will be tried again."""
    return _conditions("True", "Job created", what, "True", "Job failing", words)


def given_up(what: str, words: str) -> list[dict[str, str]]:
    reached = "Job has reached configured number of retries without succeeding"
    return _conditions("True", "Job created", what, "True", "Job failed", f"{reached}: {words}")


def _conditions(
    created: str, reason: str, message: str, failed: str, failed_reason: str, failed_message: str
) -> list[dict[str, str]]:
    return [
        _condition("JobCreated", created, reason, message),
        _condition("Failed", failed, failed_reason, failed_message),
    ]


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    condition = {"type": kind, "status": status}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message[:_LONGEST_MESSAGE]
    return condition
