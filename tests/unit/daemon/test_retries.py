import time

import pytest

from rke2_units.daemon.retries import PAUSES, Retries

UNIT = "rke2-static-pod@kube-scheduler.service"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_pauses_grow_with_each_failure_and_start_anew_after_a_success(clock: list[float]) -> None:
    tried = Retries()
    seen = []
    for _ in range(len(PAUSES) + 1):
        tried.note(UNIT, "unknown flag")
        seen.append(tried.seconds_to_next(1000))
        tried.forget_failure(UNIT)
    assert seen == [*PAUSES, PAUSES[-1]]
    tried.forget_tries(UNIT)
    tried.note(UNIT, "unknown flag")
    assert tried.seconds_to_next(1000) == PAUSES[0]


def test_a_unit_is_due_when_its_pause_is_over(clock: list[float]) -> None:
    tried = Retries()
    tried.note(UNIT, "unknown flag")
    assert tried.knows(UNIT) and not tried.is_due(UNIT)
    clock[0] += PAUSES[0]
    assert tried.is_due(UNIT)


def test_the_reason_names_the_cause_and_the_next_attempt(clock: list[float]) -> None:
    tried = Retries()
    tried.note(UNIT, "unknown flag")
    assert tried.reasons[UNIT].startswith("unknown flag; attempt 2 at ")
    tried.forget_failure(UNIT)
    assert not tried.reasons and not tried.knows(UNIT)
