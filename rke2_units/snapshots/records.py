"""What the runs on this node have left: of the last snapshots, and how long they took. A JSON file, 0600."""

import itertools
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.lean import write
from rke2_units.snapshots import lock

# Bytes; it is some KB long.
_LARGEST = 1 << 20
# Seconds that one writer waits for another.
_PATIENCE = 10.0
# RKE2's histograms, by what is between rke2_etcd_snapshot_ and _duration_seconds.
DURATIONS = {
    "save": "Time for a snapshot as a whole.",
    "save_local": "Time to write the file of a snapshot.",
    "save_s3": "Time to upload a snapshot to S3.",
    "reconcile": "Time to bring the cluster's objects in line with the snapshots.",
    "reconcile_local": "Time to list the files of snapshots.",
    "reconcile_s3": "Time to list the snapshots in S3.",
}
# Upper bounds in seconds.
_BOUNDS = tuple(0.008 * 2**power for power in range(15))
_STATUSES = ("success", "error")


@dataclass(frozen=True)
class Saved:
    """A snapshot of the schedule: its size in bytes, and how long it took."""

    name: str
    time: datetime
    size: int
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A run of the schedule that failed."""

    time: datetime
    message: str


@dataclass(frozen=True)
class Verified:
    """What became of restoring a snapshot on trial; `details` are what was compared."""

    name: str
    time: datetime
    ok: bool
    message: str
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Histogram:
    """How many took up to each bound (and longer), not cumulated, and their sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(_BOUNDS) + 1)
    sum: float = 0.0

    def observed(self, seconds: float) -> "Histogram":
        place = sum(seconds > bound for bound in _BOUNDS)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return Histogram(counts, self.sum + seconds)


@dataclass(frozen=True)
class Records:
    """`saved` is the last good one of the schedule, `failed` a run since then.

    `unfinished` is the path of the snapshot that is being made, or was when its process was killed; else "".
    """

    saved: Saved | None = None
    failed: Failed | None = None
    verified: Verified | None = None
    unfinished: str = ""
    # By the name in DURATIONS and the status.
    durations: Mapping[tuple[str, str], Histogram] = field(default_factory=dict)

    def observed(self, name: str, seconds: float, *, is_good: bool) -> "Records":
        """With one more duration of this name."""
        key = name, _STATUSES[0 if is_good else 1]
        histogram = self.durations.get(key, Histogram()).observed(max(seconds, 0.0))
        return replace(self, durations={**self.durations, key: histogram})


def read(path: str) -> Records:
    """The records in the file; empty without it, and in the parts that it does not hold in this form."""
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return Records()
    return parse(values)


def update(path: str, change: Callable[[Records], Records], metrics: str = "") -> None:
    """Writes what `change` makes of the records; UserError when that is impossible.

    `metrics`: a file for everybody with their metrics, written where its folder exists.
    """
    try:
        with lock.held(f"{os.path.dirname(path)}/snapshot-records.lock", _PATIENCE):
            found = change(read(path))
            content = f"{json.dumps(_values(found), sort_keys=True)}\n"
            with write.replace(path, 0o600) as file:
                file.write(content.encode())
            files.synchronise_directory(os.path.dirname(path))
            if os.path.isdir(os.path.dirname(metrics)):
                with write.replace(metrics, 0o644, on_disk=False) as file:
                    file.write(metrics_text(found).encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def parse(values: object) -> Records:
    """The records in a JSON value, as tolerant as `read`."""
    if not isinstance(values, dict):
        return Records()
    unfinished = values.get("unfinished")
    return Records(
        _saved(values.get("saved")),
        _failed(values.get("failed")),
        verified(values.get("verified")),
        unfinished if isinstance(unfinished, str) else "",
        _durations(values.get("durations")),
    )


def verified(value: object) -> Verified | None:
    """The result of verifying in a JSON value; None for anything else."""
    match value:
        case {
            "name": str() as name,
            "time": str() as time,
            "ok": bool() as ok,
            "message": str() as message,
            **details,
        }:
            with suppress(ValueError, OverflowError):
                others = {str(key): value for key, value in details.items()}
                return Verified(name, _time(time), ok, message, others)
    return None


def metrics_text(records: Records) -> str:
    """The durations in Prometheus' text format (version 0.0.4), under RKE2's names."""
    lines = []
    for name, text in DURATIONS.items():
        family = f"rke2_etcd_snapshot_{name}_duration_seconds"
        lines += [f"# HELP {family} {text}", f"# TYPE {family} histogram"]
        for status in _STATUSES:
            histogram = records.durations.get((name, status))
            if histogram is not None:
                lines += _samples(family, status, histogram)
    return "\n".join(lines) + "\n"


def _samples(family: str, status: str, histogram: Histogram) -> list[str]:
    counts = list(itertools.accumulate(histogram.counts))
    bounds = [*map(str, _BOUNDS), "+Inf"]
    return [
        *(
            f'{family}_bucket{{status="{status}",le="{bound}"}} {count}'
            for bound, count in zip(bounds, counts, strict=True)
        ),
        f'{family}_sum{{status="{status}"}} {histogram.sum}',
        f'{family}_count{{status="{status}"}} {counts[-1]}',
    ]


def _saved(value: object) -> Saved | None:
    match value:
        case {
            "name": str() as name,
            "time": str() as time,
            "size": int() as size,
            "seconds": float() as seconds,
        }:
            with suppress(ValueError, OverflowError):
                return Saved(name, _time(time), size, seconds)
    return None


def _failed(value: object) -> Failed | None:
    match value:
        case {"time": str() as time, "message": str() as message}:
            with suppress(ValueError, OverflowError):
                return Failed(_time(time), message)
    return None


def _durations(value: object) -> dict[tuple[str, str], Histogram]:
    found = {}
    for name in DURATIONS:
        for status in _STATUSES:
            histogram = _histogram(value, name, status)
            if histogram is not None:
                found[name, status] = histogram
    return found


def _histogram(value: object, name: str, status: str) -> Histogram | None:
    for key in (name, status):
        value = value.get(key) if isinstance(value, dict) else None
    match value:
        case {"counts": list() as counts, "sum": float() as total}:
            if len(counts) == len(_BOUNDS) + 1 and all(
                type(count) is int and count >= 0 for count in counts
            ):
                return Histogram(tuple(counts), total) if math.isfinite(total) else None
    return None


def _values(records: Records) -> dict[str, object]:
    durations: dict[str, dict[str, object]] = {}
    for (name, status), histogram in records.durations.items():
        durations.setdefault(name, {})[status] = {"counts": histogram.counts, "sum": histogram.sum}
    values: dict[str, object] = {"durations": durations, "unfinished": records.unfinished}
    if records.saved:
        values["saved"] = {**vars(records.saved), "time": records.saved.time.isoformat()}
    if records.failed:
        values["failed"] = {**vars(records.failed), "time": records.failed.time.isoformat()}
    if records.verified:
        known = {name: getattr(records.verified, name) for name in ("name", "ok", "message")}
        values["verified"] = {**records.verified.details, **known, "time": records.verified.time.isoformat()}
    return values


def _time(text: str) -> datetime:
    """ValueError, also for a time that has no time zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time.astimezone(UTC)
