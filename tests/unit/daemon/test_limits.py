from rke2_units.daemon.limits import IDLE, Limits
from rke2_units.model import UnitState
from rke2_units.unit_names import KUBELET_UNIT, SUPERVISOR_SOCKET

IDLE_KUBELET = UnitState(KUBELET_UNIT, "unloaded", "inactive", "dead", "")
STARTING = UnitState(KUBELET_UNIT, "loaded", "activating", "start", "start")


def exceeded(limits: Limits, state: UnitState, now: float) -> str:
    failure = limits.exceeded({state.name: state}, [state.name], now)
    return failure.reason if failure else ""


def test_a_unit_that_nobody_starts_is_waited_for_only_so_long() -> None:
    limits = Limits()
    assert exceeded(limits, IDLE_KUBELET, 100) == ""
    assert exceeded(limits, IDLE_KUBELET, 100 + IDLE) == ""
    assert exceeded(limits, IDLE_KUBELET, 101 + IDLE) == "nothing has started it within 30 s"


def test_a_unit_that_is_starting_is_left_to_who_ends_that() -> None:
    limits = Limits()
    assert exceeded(limits, IDLE_KUBELET, 100) == ""
    assert exceeded(limits, STARTING, 101) == ""
    assert exceeded(limits, STARTING, 10_000) == ""
    # From here on nobody is at work on it.
    assert exceeded(limits, IDLE_KUBELET, 10_000) == ""


def test_a_unit_whose_row_has_seconds_gets_no_more() -> None:
    limits = Limits()
    opening = UnitState(SUPERVISOR_SOCKET, "loaded", "activating", "start-pre", "start")
    assert exceeded(limits, opening, 0) == ""
    assert exceeded(limits, opening, 31) == "it has not started within 30 s"
