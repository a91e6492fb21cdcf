from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.snapshots.retention import expired
from rke2_units.snapshots.snapshot import Snapshot


def snapshot(name: str, created: int = 0, size: int = 1056, error: str = "") -> Snapshot:
    return Snapshot(name, "n", f"file:///{name}", size, datetime.fromtimestamp(created, UTC), error=error)


@pytest.mark.parametrize(
    ("names", "keep", "gone"),
    [
        (["etcd-snapshot-a-3", "etcd-snapshot-a-1", "etcd-snapshot-a-2"], 2, ["etcd-snapshot-a-1"]),
        # By time, of whatever node and however compressed.
        (["etcd-snapshot-b-10.zip", "etcd-snapshot-a-9"], 1, ["etcd-snapshot-a-9"]),
        # By the name's beginning alone, as RKE2.
        (["etcd-snapshot-foo-a-1", "etcd-snapshot-a-2", "on-demand-a-0"], 1, ["etcd-snapshot-foo-a-1"]),
        (["etcd-snapshot-a-1", "etcd-snapshot-a-2"], 2, []),
        (["etcd-snapshot-a-1", "etcd-snapshot-a-2"], 0, []),
        (["etcd-snapshot-a-1", "etcd-snapshot-a-2"], -1, []),
    ],
)
def test_the_newest_stay(names: list[str], keep: int, gone: list[str]) -> None:
    assert [one.name for one in expired(map(snapshot, names), "etcd-snapshot", keep)] == gone


def test_a_name_without_a_time_has_that_of_its_file() -> None:
    found = [snapshot("on-demand-a-100"), snapshot("on-demand-old", 99), snapshot("on-demand-new", 101)]
    assert [one.name for one in expired(found, "on-demand", 1)] == ["on-demand-old", "on-demand-a-100"]


def test_without_a_base_name_nothing_is_too_old() -> None:
    assert expired([snapshot("a-1"), snapshot("a-2")], "", 1) == []


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 1024}, {"error": "disk full"}])
def test_the_last_good_one_stays_however_old(bad: dict[str, object]) -> None:
    found = [snapshot("s-a-1"), snapshot("s-a-2"), snapshot("s-a-3", **bad), snapshot("s-a-4", **bad)]  # type: ignore[arg-type]
    assert [one.name for one in expired(found, "s", 2)] == ["s-a-1"]
    assert [one.name for one in expired(found, "s", 2, lambda one: one.name == "s-a-1")] == ["s-a-2"]


snapshots = st.lists(
    st.builds(
        snapshot,
        st.from_regex(r"(etcd-snapshot|on-demand)-[ab]-[0-9]{1,3}(\.zip)?", fullmatch=True),
        st.integers(0, 1000),
        st.sampled_from([0, 1024, 1056]),
    ),
    unique_by=lambda one: one.name,
    max_size=12,
)


@given(snapshots, st.integers(-1, 6))
def test_never_too_many_stay_and_never_does_the_last_good_one_go(found: list[Snapshot], keep: int) -> None:
    def good(some: list[Snapshot]) -> list[Snapshot]:
        return [one for one in some if one.size and (one.name.endswith(".zip") or one.size == 1056)]

    matching = [one for one in found if one.name.startswith("etcd-snapshot")]
    gone = expired(found, "etcd-snapshot", keep)
    left = [one for one in matching if one not in gone]
    assert all(one in matching for one in gone)
    if keep < 1:
        assert not gone
    else:
        assert len(left) in (min(keep, len(matching)), min(keep + 1, len(matching)))
        assert bool(good(left)) == bool(good(matching))
