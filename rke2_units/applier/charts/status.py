"""A HelmChart object's owner, finalizer and conditions, in RKE2's form.

Pure: the functions return patches (RFC 7386) or lists of conditions.
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
# The hash of the configuration that failed more often than backOffLimit; remove it to retry.
GIVEN_UP = "rke2-units/given-up"
_LONGEST_MESSAGE = 2000


class Standing(Enum):
    """Who manages a HelmChart."""

    OURS = "ours"
    # Nobody has claimed it yet.
    FREE = "free"
    OTHERS = "another controller's"
    # Annotated as unmanaged, or without a chart.
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
    """The patch that claims the chart and sets the finalizer; None if both are done."""
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
    """The patch that removes our finalizer."""
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
    """helm is running or has succeeded."""
    return _conditions("True", "Job created", what, "False", "", "")


def failed(what: str, words: str) -> list[dict[str, str]]:
    """helm failed; it will be retried."""
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
