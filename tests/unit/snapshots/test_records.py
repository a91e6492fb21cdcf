import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.errors import UserError
from rke2_units.snapshots import records
from rke2_units.snapshots.records import Failed, Records, Saved, Verified

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FULL = replace(
    Records().observed("save", 3.0, is_good=True).observed("reconcile_s3", 1000.0, is_good=False),
    saved=Saved("etcd-snapshot-n-1", NOW, 5, 1.5),
    failed=Failed(NOW, "disk full"),
    verified=Verified("etcd-snapshot-n-1", NOW, False, "no", {"keys": 3}),
    unfinished="/a/etcd-snapshot-n-2",
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "snapshot-records.json")


def test_what_was_written_is_read(path: str) -> None:
    records.update(path, lambda found: FULL)
    assert records.read(path) == FULL
    assert os.stat(path).st_mode & 0o777 == 0o600
    records.update(path, lambda found: replace(found, failed=None))
    assert records.read(path) == replace(FULL, failed=None)


def test_the_file_is_in_words_that_others_can_read(path: str) -> None:
    records.update(path, lambda found: FULL)
    with open(path, encoding="utf-8") as file:
        values = json.load(file)
    assert values["saved"] == {
        "name": "etcd-snapshot-n-1",
        "time": "2026-01-02T03:04:05+00:00",
        "size": 5,
        "seconds": 1.5,
    }
    assert values["verified"]["keys"] == 3 and values["verified"]["ok"] is False
    assert values["failed"]["message"] == "disk full"


def test_a_missing_or_damaged_file_is_empty(path: str) -> None:
    assert records.read(path) == Records()
    for content in (b"", b"{", b"\xff", b"[]", b"[" * 100_000, b"null"):
        Path(path).write_bytes(content)
        assert records.read(path) == Records()
    records.update(path, lambda found: replace(found, unfinished="/a"))
    assert records.read(path).unfinished == "/a"


def test_a_damaged_part_does_not_take_the_others_away(path: str) -> None:
    records.update(path, lambda found: FULL)
    values = json.loads(Path(path).read_text())
    values["saved"]["time"] = "yesterday"
    values["verified"]["ok"] = "yes"
    values["durations"]["save"]["success"]["counts"] = [1, 2]
    found = records.parse(values)
    assert (found.saved, found.verified, found.failed) == (None, None, FULL.failed)
    assert list(found.durations) == [("reconcile_s3", "error")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
times = st.sampled_from(
    ["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:00", ""]
)
parts = st.fixed_dictionaries(
    {},
    optional={
        "name": json_values,
        "time": times | json_values,
        "size": json_values,
        "seconds": json_values,
        "message": st.text(max_size=3),
        "ok": json_values,
    },
)
durations = st.dictionaries(
    st.sampled_from(list(records.DURATIONS)),
    st.dictionaries(
        st.sampled_from(["success", "error"]),
        st.fixed_dictionaries(
            {"counts": st.lists(st.integers(), min_size=15, max_size=17), "sum": st.floats()}
        ),
    )
    | json_values,
    max_size=3,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **{key: parts | json_values for key in ("saved", "failed", "verified")},
            "unfinished": json_values,
            "durations": durations | json_values,
        },
    )
    | json_values
)
def test_whatever_the_file_holds_can_be_read_and_shown(values: object) -> None:
    found = records.parse(values)
    assert "rke2_etcd_snapshot_save_duration_seconds" in records.metrics_text(found)
    assert found.saved is None or found.saved.time.tzinfo is not None


_COUNT = (
    "import sys; from rke2_units.snapshots import records\n"
    "for _ in range(10):\n"
    "    records.update(sys.argv[1], lambda found: found.observed('save', 1.0, is_good=True))"
)


def test_two_writers_lose_nothing(path: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _COUNT, path]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sum(records.read(path).durations["save", "success"].counts) == 20


def test_what_cannot_be_written_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none/snapshot-records.json"):
        records.update(str(tmp_path / "none" / "snapshot-records.json"), lambda found: found)


def test_nothing_of_a_killed_writer_stays(path: str) -> None:
    left = Path(f"{path}.new")
    left.write_text("{")
    records.update(path, lambda found: found)
    assert not left.exists()


def test_metrics_are_for_everybody_where_there_is_a_place_for_them(path: str, tmp_path: Path) -> None:
    metrics = tmp_path / "requests" / "etcd-snapshot.prom"
    records.update(path, lambda found: FULL, str(metrics))
    assert not metrics.exists()
    metrics.parent.mkdir()
    records.update(path, lambda found: found.observed("save", 2.0, is_good=True), str(metrics))
    assert metrics.read_text() == records.metrics_text(records.read(path))
    assert 'save_duration_seconds_count{status="success"} 2' in metrics.read_text()
    assert metrics.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [(0.0, 0.008), (0.008, 0.008), (0.0081, 0.016), (131.072, 131.072), (500.0, None), (-1.0, 0.008)],
)
def test_a_duration_is_counted_below_its_bound(seconds: float, bound: float | None) -> None:
    text = records.metrics_text(Records().observed("save_local", seconds, is_good=True))
    samples = [line for line in text.splitlines() if line.startswith("rke2_etcd_snapshot_save_local_")]
    assert len(samples) == 15 + 1 + 2
    for line in samples[:15]:
        value = float(line.split('le="')[1].split('"')[0])
        assert line.endswith(" 1" if bound is not None and value >= bound else " 0")
    assert (
        samples[15] == 'rke2_etcd_snapshot_save_local_duration_seconds_bucket{status="success",le="+Inf"} 1'
    )
    assert samples[17] == 'rke2_etcd_snapshot_save_local_duration_seconds_count{status="success"} 1'


def test_bounds_are_those_of_rke2() -> None:
    text = records.metrics_text(Records().observed("save", 1, is_good=False))
    bounds = [line.split('le="')[1].split('"')[0] for line in text.splitlines() if 'le="' in line]
    small, large = (
        "0.008 0.016 0.032 0.064 0.128 0.256 0.512 1.024",
        "2.048 4.096 8.192 16.384 32.768 65.536",
    )
    assert bounds == [*small.split(), *large.split(), "131.072", "+Inf"]
    assert 'status="error"' in text
