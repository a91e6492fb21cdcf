"""Claims, finalizers and conditions are those that RKE2 reads and writes."""

from typing import Any

import pytest

from rke2_units.applier.charts import status
from rke2_units.applier.charts.status import Standing

FINALIZER = "wrangler.cattle.io/on-helm-chart-remove"


def chart(
    spec: dict[str, Any], annotations: dict[str, str] | None = None, finalizers: list[str] | None = None
) -> dict[str, Any]:
    metadata = {"resourceVersion": "7", "annotations": annotations, "finalizers": finalizers}
    return {"metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("found", "standing"),
    [
        (chart({"chart": "a"}), Standing.FREE),
        (chart({"chartContent": "a"}), Standing.FREE),
        (chart({}), Standing.UNMANAGED),
        (chart({"chart": "a"}, {"helmcharts.cattle.io/managed-by": "helm-controller"}), Standing.OURS),
        (chart({"chart": "a"}, {"helmcharts.cattle.io/managed-by": "rancher"}), Standing.OTHERS),
        (chart({"chart": "a"}, {"helmcharts.helm.cattle.io/unmanaged": ""}), Standing.UNMANAGED),
        (
            chart(
                {"chart": "a"},
                {
                    "helmcharts.helm.cattle.io/unmanaged": "true",
                    "helmcharts.cattle.io/managed-by": "helm-controller",
                },
            ),
            Standing.UNMANAGED,
        ),
    ],
)
def test_a_chart_belongs_to_whom_its_annotations_say(found: dict[str, Any], standing: Standing) -> None:
    assert status.standing(found) is standing


def test_a_claim_adds_to_the_finalizers_and_is_made_once() -> None:
    patch = status.claim(chart({"chart": "a"}, None, ["other"]))
    assert patch == {
        "metadata": {
            "annotations": {"helmcharts.cattle.io/managed-by": "helm-controller"},
            "finalizers": ["other", FINALIZER],
            "resourceVersion": "7",
        }
    }
    claimed = chart({"chart": "a"}, {"helmcharts.cattle.io/managed-by": "helm-controller"}, [FINALIZER])
    assert status.claim(claimed) is None


@pytest.mark.parametrize(
    ("finalizers", "left"), [([FINALIZER], None), (["x", FINALIZER, "y"], ["x", "y"]), (None, None)]
)
def test_our_finalizer_alone_is_taken_away(finalizers: list[str] | None, left: list[str] | None) -> None:
    patch = status.let_go(chart({"chart": "a"}, {}, finalizers))
    assert patch == {"metadata": {"finalizers": left, "resourceVersion": "7"}}


def test_conditions_have_helm_controllers_types_and_reasons() -> None:
    assert status.applied("Applying") == [
        {"type": "JobCreated", "status": "True", "reason": "Job created", "message": "Applying"},
        {"type": "Failed", "status": "False"},
    ]
    assert status.not_begun("no Secret") == [
        {"type": "JobCreated", "status": "False"},
        {
            "type": "Failed",
            "status": "True",
            "reason": "Job create failed",
            "message": "Failed to generate Job: no Secret",
        },
    ]
    assert status.unsupported()[1]["reason"] == "Unsupported version"
    assert status.given_up("Applying", "helm's words")[1] == {
        "type": "Failed",
        "status": "True",
        "reason": "Job failed",
        "message": "Job has reached configured number of retries without succeeding: helm's words",
    }


def test_a_long_message_is_cut() -> None:
    assert len(status.failed("Applying", "x" * 10_000)[1]["message"]) == 2000
