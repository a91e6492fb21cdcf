"""What is done about a release follows from helm's newest record of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts.decision import Step, pause, removal, steps
from rke2_units.applier.charts.records import Record

POLICIES = ("abort", "reinstall", "retry")
STATUSES = (
    "deployed", "failed", "uninstalled", "superseded", "uninstalling", "pending-install", "pending-upgrade",
    "pending-rollback", "unknown", "",
)  # fmt: skip


def record(status: str, digest: str = "OLD") -> Record:
    return Record(3, status, digest, "sh.helm.release.v1.a.v3")


@pytest.mark.parametrize(
    ("status", "policy", "expected"),
    [
        ("deployed", "abort", [Step.UPGRADE]),
        ("failed", "abort", [Step.ABORT]),
        ("failed", "reinstall", [Step.UNINSTALL, Step.INSTALL]),
        ("failed", "retry", [Step.UPGRADE]),
        ("unknown", "reinstall", [Step.UNINSTALL, Step.INSTALL]),
        ("pending-upgrade", "abort", [Step.SET_FAILED, Step.UPGRADE]),
        ("pending-upgrade", "reinstall", [Step.SET_FAILED, Step.UPGRADE]),
        ("superseded", "reinstall", [Step.SET_FAILED, Step.UPGRADE]),
        ("pending-install", "reinstall", [Step.SET_FAILED, Step.UNINSTALL, Step.INSTALL]),
        ("pending-install", "retry", [Step.SET_FAILED, Step.UPGRADE]),
        ("pending-rollback", "abort", [Step.SET_FAILED, Step.ABORT]),
        ("uninstalling", "reinstall", [Step.SET_FAILED, Step.UNINSTALL, Step.INSTALL]),
        ("uninstalled", "abort", [Step.UNINSTALL, Step.INSTALL]),
    ],
)
def test_each_status_has_its_steps(status: str, policy: str, expected: list[Step]) -> None:
    assert list(steps(record(status), "NEW", policy)) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_a_release_that_is_not_there_is_installed(policy: str) -> None:
    assert steps(None, "NEW", policy) == (Step.INSTALL,)


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_done_when_the_wanted_configuration_is_deployed(policy: str) -> None:
    assert steps(record("deployed", "NEW"), "NEW", policy) == ()


@given(st.sampled_from(STATUSES), st.sampled_from(("OLD", "NEW")), st.sampled_from(POLICIES))
def test_nothing_but_the_deployed_wanted_release_is_left_alone(
    status: str, digest: str, policy: str
) -> None:
    found = steps(record(status, digest), "NEW", policy)
    assert (found == ()) == (status == "deployed" and digest == "NEW")


@given(st.sampled_from(STATUSES), st.sampled_from(("OLD", "NEW")))
def test_the_policy_abort_never_uninstalls_what_a_person_has_not_uninstalled(
    status: str, digest: str
) -> None:
    assert Step.UNINSTALL not in steps(record(status, digest), "NEW", "abort") or status == "uninstalled"


def test_only_a_release_that_is_there_is_uninstalled() -> None:
    assert removal(None) == ()
    assert removal(record("pending-upgrade")) == (Step.UNINSTALL,)


def test_the_pause_doubles_from_ten_seconds_to_six_minutes() -> None:
    assert [pause(n) for n in range(1, 8)] == [10, 20, 40, 80, 160, 320, 360]
    assert pause(10_000) == 360
