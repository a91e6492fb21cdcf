"""A server's snapshots in its status: the last, the next, and what is a problem."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.node import snapshot_status
from rke2_units.node.snapshot_status import Snapshots, Timer, snapshots, timer
from rke2_units.snapshots.records import Failed, Records, Saved, Verified

HOUR = 3600.0
# 2026-09-14 12:00:00 UTC
NOW = 1789387200.0
EVERY_12_HOURS = Timer(last=NOW - HOUR, next=NOW + 11 * HOUR)


def ago(hours: float) -> datetime:
    return datetime.fromtimestamp(NOW - hours * HOUR, UTC)


def saved(hours: float) -> Saved:
    return Saved("etcd-snapshot-one-1", ago(hours), 12 << 20, 1.5)


GOOD = Records(
    saved=saved(1), verified=Verified("etcd-snapshot-one-1", ago(0.9), True, "it can be restored")
)


def found(
    records: Records, schedule: Timer | None = EVERY_12_HOURS, *, up: float = 100, is_running: bool = False
) -> Snapshots:
    """`up`: hours since the node was started."""
    return snapshots(records, schedule, up_since=NOW - up * HOUR, is_running=is_running, now=NOW)


def test_the_last_and_the_next_are_shown() -> None:
    assert found(GOOD) == Snapshots(
        is_scheduled=True,
        name="etcd-snapshot-one-1",
        time=NOW - HOUR,
        size=12 << 20,
        next=NOW + 11 * HOUR,
        verified="etcd-snapshot-one-1",
        verified_time=NOW - 0.9 * HOUR,
        is_good=True,
        finding="it can be restored",
        problem="",
    )


def test_a_new_node_has_none_yet_and_that_is_fine() -> None:
    assert found(Records(), Timer(0, NOW + 5 * HOUR), up=0.1) == Snapshots(True, next=NOW + 5 * HOUR)


def test_a_run_that_failed_since_is_a_problem() -> None:
    failing = replace(GOOD, failed=Failed(ago(3), "no space left on /backup\x1b[2J\n"))
    assert found(failing).problem == "the scheduled snapshot failed 3 h ago: no space left on /backup [2J"
    # Without a schedule, nothing will take it back.
    assert found(failing, None).problem == ""


def test_a_last_snapshot_that_is_not_good_is_a_problem() -> None:
    bad = Verified("etcd-snapshot-one-1", ago(0.9), False, "2 differences")
    assert found(replace(GOOD, verified=bad)).problem == (
        "the last snapshot, etcd-snapshot-one-1, cannot be relied on: 2 differences"
    )
    # What somebody has tried out is not what this server relies on.
    other = found(replace(GOOD, verified=replace(bad, name="from-elsewhere")))
    assert (other.problem, other.is_good, other.finding) == ("", False, "2 differences")


@pytest.mark.parametrize(
    ("hours", "schedule", "up", "is_running", "is_late"),
    [
        # Two intervals of 12 hours, and a while.
        (1, EVERY_12_HOURS, 100, False, False),
        (24, EVERY_12_HOURS, 100, False, False),
        (24.2, EVERY_12_HOURS, 100, False, True),
        (24.2, EVERY_12_HOURS, 100, True, False),
        # The node was down meanwhile.
        (90, EVERY_12_HOURS, 20, False, False),
        (90, EVERY_12_HOURS, 0.5, False, False),
        # Working hours: the gap of the night is behind it, or before it.
        (14.9, Timer(NOW - 5 * 60, NOW + 55 * 60), 100, True, False),
        (1, Timer(NOW - HOUR, NOW + 14 * HOUR), 100, False, False),
        # A week.
        (100, Timer(NOW - 100 * HOUR, NOW + 68 * HOUR), 1000, False, False),
        # Each minute.
        (0.1, Timer(NOW - 30, NOW + 30), 100, False, False),
        (0.3, Timer(NOW - 30, NOW + 30), 100, False, True),
        # systemd names no next run while one is under way.
        (500, Timer(NOW - 30, 0), 1000, False, False),
    ],
)
def test_a_schedule_without_snapshots_is_a_problem(
    hours: float, schedule: Timer, up: float, is_running: bool, is_late: bool
) -> None:
    problem = found(Records(saved=saved(hours)), schedule, up=up, is_running=is_running).problem
    assert problem.startswith("no scheduled snapshot for ") is is_late
    assert bool(problem) is is_late


def test_a_schedule_that_never_took_one_is_a_problem() -> None:
    problem = found(Records(), Timer(NOW - HOUR, NOW + 11 * HOUR), up=30).problem
    assert problem == "no scheduled snapshot for 30 h, there is none: journalctl -u rke2-etcd-snapshot"
    # It could not have taken one before its first run.
    assert found(Records(), Timer(0, NOW + 11 * HOUR), up=1).problem == ""


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4))
def test_a_snapshot_of_the_last_run_is_never_late(interval: float, since: float, up: float) -> None:
    """Whatever the interval: the run at `last` took one."""
    since = min(since, interval)
    schedule = Timer(NOW - since * HOUR, NOW + (interval - since) * HOUR)
    assert found(Records(saved=saved(since)), schedule, up=max(up, since)).problem == ""


@pytest.mark.parametrize(
    ("properties", "last", "next"),
    [
        ({}, 0, 0),
        (
            {"NextElapseUSecRealtime": "", "NextElapseUSecMonotonic": "infinity", "LastTriggerUSec": "n/a"},
            0,
            0,
        ),
        (
            {
                "NextElapseUSecRealtime": "Tue 2026-09-15 00:00:03 UTC",
                "NextElapseUSecMonotonic": "infinity",
                "LastTriggerUSec": "Mon 2026-09-14 12:00:00 UTC",
            },
            NOW,
            NOW + 12 * HOUR + 3,
        ),
        ({"NextElapseUSecRealtime": "@1789387260", "NextElapseUSecMonotonic": "0"}, 0, NOW + 60),
        # 1 day after the boot, 23 hours of which are over.
        ({"NextElapseUSecMonotonic": "1d 500ms"}, 0, NOW + HOUR + 0.5),
        ({"NextElapseUSecMonotonic": "23h 5min 1.5s"}, 0, NOW + 301.5),
        ({"NextElapseUSecMonotonic": "1d", "NextElapseUSecRealtime": "@1789387201"}, 0, NOW + 1),
        ({"NextElapseUSecRealtime": "Tue 2026-09-15 00:00:03 CEST"}, 0, 0),
        ({"NextElapseUSecRealtime": "@soon"}, 0, 0),
    ],
)
def test_the_timer_is_read_as_systemd_shows_it(properties: dict[str, str], last: float, next: float) -> None:
    assert timer(properties, NOW, monotonic=23 * HOUR) == Timer(last, next)


@given(st.text(), st.text(), st.text())
def test_any_texts_are_a_timer(next: str, monotonic: str, last: str) -> None:
    timer(
        {"NextElapseUSecRealtime": next, "NextElapseUSecMonotonic": monotonic, "LastTriggerUSec": last},
        NOW,
        1,
    )


def test_systemd_is_asked_for_what_is_read() -> None:
    assert set(snapshot_status.PROPERTIES.split(",")) == {
        "NextElapseUSecRealtime",
        "NextElapseUSecMonotonic",
        "LastTriggerUSec",
    }
