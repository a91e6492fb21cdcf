"""This server's snapshots as `status` shows them: the last one, the next one, and what is wrong. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from rke2_units.node.spans import span
from rke2_units.printable import line
from rke2_units.snapshots.records import Records

# What systemd must be asked about the timer, beside what it is asked about every unit.
PROPERTIES = "NextElapseUSecRealtime,NextElapseUSecMonotonic,LastTriggerUSec"
# Seconds beyond two intervals of the schedule: a snapshot takes a while.
_SLACK = 600.0
# In systemd's words (systemd.time(7)).
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(month|min|ms|us|y|w|d|h|s)")
_SECONDS = {
    "y": 31_557_600.0, "month": 2_629_800.0, "w": 604_800.0, "d": 86_400.0, "h": 3600.0, "min": 60.0,
    "s": 1.0, "ms": 1e-3, "us": 1e-6,
}  # fmt: skip


@dataclass(frozen=True)
class Snapshots:
    """The last good snapshot of the schedule, and the result of the last verification.

    Times are seconds since the epoch, `size` is in bytes; "" and 0 for what there is none of. `verified` is
    the name of the snapshot, `finding` what was found. `problem` is "" when there is none.
    """

    is_scheduled: bool
    name: str = ""
    time: float = 0.0
    size: int = 0
    next: float = 0.0
    verified: str = ""
    verified_time: float = 0.0
    is_good: bool = True
    finding: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Timer:
    """When it has last started the service and when it does next; 0.0 for what systemd does not say."""

    last: float
    next: float


def timer(properties: Mapping[str, str], now: float, monotonic: float) -> Timer:
    """The timer with these properties, whose times are in UTC; both clocks are in seconds."""
    text = properties.get("NextElapseUSecMonotonic", "")
    found = [_SECONDS[unit] * float(count) for count, unit in _SPAN.findall(text)]
    moments = [
        _moment(properties.get("NextElapseUSecRealtime", "")),
        now + sum(found) - monotonic if found else 0.0,
    ]
    return Timer(
        _moment(properties.get("LastTriggerUSec", "")), min((each for each in moments if each), default=0.0)
    )


def _moment(text: str) -> float:
    """Seconds since the epoch of `Mon 2026-09-14 00:20:00 UTC` or `@1789345200`; 0.0 for anything else."""
    if text.startswith("@"):
        return float(text[1:]) if text[1:].isdecimal() else 0.0
    try:
        _, day, time = text.removesuffix(" UTC").split(" ")
        return datetime.fromisoformat(f"{day} {time}").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def snapshots(
    records: Records, schedule: Timer | None, *, up_since: float, is_running: bool, now: float
) -> Snapshots:
    """`schedule` is None without one. `up_since`: the start of the node, and of its timer.

    `is_running`: whether the service takes a snapshot at this moment.
    """
    saved, verified = records.saved, records.verified
    found = Snapshots(
        is_scheduled=schedule is not None,
        name=line(saved.name) if saved else "",
        time=saved.time.timestamp() if saved else 0.0,
        size=saved.size if saved else 0,
        next=schedule.next if schedule else 0.0,
        verified=line(verified.name) if verified else "",
        verified_time=verified.time.timestamp() if verified else 0.0,
        is_good=verified.ok if verified else True,
        finding=line(verified.message) if verified else "",
    )
    problem = ""
    if schedule is not None:
        problem = _failure(records, now) or _delay(found, schedule, up_since, is_running, now)
    # Another one than the last may have been verified because somebody did not trust it.
    if not problem and not found.is_good and found.verified == found.name:
        problem = f"the last snapshot, {found.name}, cannot be relied on: {found.finding}"
    return Snapshots(**{**vars(found), "problem": problem})


def _failure(records: Records, now: float) -> str:
    if records.failed is None:
        return ""
    age = span(now - records.failed.time.timestamp())
    return f"the scheduled snapshot failed {age} ago: {line(records.failed.message)}"


def _delay(found: Snapshots, schedule: Timer, up_since: float, is_running: bool, now: float) -> str:
    """A schedule without a failure and without a snapshot: its member of etcd is a learner, for example."""
    if is_running or not schedule.next or not up_since:
        return ""
    interval = schedule.next - max(schedule.last, up_since)
    silent_since = max(found.time, up_since)
    if now - silent_since <= 2 * interval + _SLACK:
        return ""
    last = f"the last one is {span(now - found.time)} old" if found.time else "there is none"
    return f"no scheduled snapshot for {span(now - silent_since)}, {last}: journalctl -u rke2-etcd-snapshot"
