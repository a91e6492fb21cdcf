"""Snapshots as ETCDSnapshotFiles and as entries of RKE2's ConfigMap."""

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.snapshots import objects
from rke2_units.snapshots.objects import Verification
from rke2_units.snapshots.snapshot import Snapshot
from tests.unit.snapshot_files import S3_PLACE, SECONDS, in_s3, local

WHEN = datetime(2025, 8, 11, 10, 8, 1, tzinfo=UTC)


def test_a_file_of_a_node_is_described_as_rke2_does() -> None:
    snapshot = local(metadata={"a": "b"}, token_hash="2bb80d537b1d")
    assert objects.to_object(snapshot) == {
        "apiVersion": "k3s.cattle.io/v1",
        "kind": "ETCDSnapshotFile",
        "metadata": {
            "name": objects.object_name(snapshot),
            "labels": {"etcd.rke2.cattle.io/snapshot-storage-node": "node1"},
            "annotations": {"etcd.rke2.cattle.io/snapshot-token-hash": "2bb80d537b1d"},
            "finalizers": ["wrangler.cattle.io/managed-etcd-snapshots-controller"],
        },
        "spec": {
            "snapshotName": f"etcd-snapshot-node1-{SECONDS}",
            "nodeName": "node1",
            "location": f"file:///snapshots/etcd-snapshot-node1-{SECONDS}",
            "metadata": {"a": "b"},
        },
        "status": {"size": "4096", "creationTime": "2025-08-11T10:08:01Z", "readyToUse": True},
    }


def test_a_snapshot_in_s3_says_where_and_who_took_it() -> None:
    obj = objects.to_object(in_s3("node2"))
    assert obj["metadata"]["labels"] == {"etcd.rke2.cattle.io/snapshot-storage-node": "s3"}
    assert obj["spec"]["nodeName"] == "node2"
    assert obj["spec"]["s3"] == S3_PLACE
    assert "annotations" not in obj["metadata"] and "metadata" not in obj["spec"]


def test_a_failed_snapshot_says_why_and_has_no_size() -> None:
    status = objects.to_object(local(size=0, location="", error="disk full"))["status"]
    assert status == {
        "size": "0",
        "creationTime": "2025-08-11T10:08:01Z",
        "readyToUse": False,
        "error": {"time": "2025-08-11T10:08:01Z", "message": "disk full"},
    }


def test_the_name_is_rke2s() -> None:
    # Known from a test of RKE2's.
    snapshot = in_s3("server-0", location="s3://test-bucket/test-folder/etcd-snapshot-server-0-1754906881")
    assert objects.object_name(snapshot) == "s3-etcd-snapshot-server-0-1754906881-e1e196"


@pytest.mark.parametrize(
    ("name", "node", "middle"),
    [
        (f"on-demand-node1-{SECONDS}.zip", "node1", f"on-demand-node1-{SECONDS}.zip"),
        ("Nightly-Node1-5", "node1", "nightly-node1-5"),
        ("with_underscore", "node1.example.org", f"etcd-snapshot-node1-{SECONDS}"),
        ("with_underscore.zip", "node1.example.org", f"etcd-snapshot-node1-{SECONDS}.zip"),
        ("-begins", "node1", f"etcd-snapshot-node1-{SECONDS}"),
        ("ends.", "node1", f"etcd-snapshot-node1-{SECONDS}"),
        ("grün", "node1", f"etcd-snapshot-node1-{SECONDS}"),
        ("a" * 240, "node1", "a" * 240),
        ("a" * 241, "node1", f"etcd-snapshot-node1-{SECONDS}"),
        # A node's name in S3 may be anything.
        ("a_b", "", f"etcd-snapshot--{SECONDS}"),
        ("a_b.zip", "a/b", f"etcd-snapshot-{SECONDS}.zip"),
        ("a_b", "N" * 500, f"etcd-snapshot-{SECONDS}"),
    ],
)
def test_what_cannot_be_a_name_is_replaced_by_node_and_time(name: str, node: str, middle: str) -> None:
    snapshot = local(node, name=name)
    assert re.fullmatch(rf"local-{re.escape(middle)}-[0-9a-f]{{6}}", objects.object_name(snapshot))
    assert len(objects.object_name(snapshot)) <= 253


# The API's rule for names of objects.
SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
ANY_SNAPSHOT = st.builds(
    lambda in_bucket, name, node, location, seconds: replace(
        (in_s3 if in_bucket else local)(node, seconds), name=name, location=location
    ),
    st.booleans(),
    st.text(max_size=300) | st.from_regex(SUBDOMAIN, fullmatch=True),
    st.text(max_size=300) | st.from_regex(SUBDOMAIN, fullmatch=True),
    st.text(),
    st.integers(0, 2**33),
)


@given(ANY_SNAPSHOT)
def test_every_name_is_one_that_the_api_takes(snapshot: Snapshot) -> None:
    name = objects.object_name(snapshot)
    assert re.fullmatch(SUBDOMAIN, name) and len(name) <= 253
    assert re.fullmatch(r"[-._a-zA-Z0-9]+", objects.key(snapshot))


@given(ANY_SNAPSHOT)
def test_snapshots_at_two_places_have_two_names(snapshot: Snapshot) -> None:
    other = replace(snapshot, location=f"{snapshot.location}x")
    assert objects.object_name(other) != objects.object_name(snapshot)


SHORT = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)


@given(ANY_SNAPSHOT, SHORT, st.integers(0, 2**40), st.text())
def test_an_object_that_is_read_is_the_snapshot(
    snapshot: Snapshot, metadata: dict[str, str], size: int, error: str
) -> None:
    (snapshot,) = objects.recordable([replace(snapshot, name="a", location="b", error=error)])
    snapshot = replace(snapshot, metadata=metadata, size=size)
    read = objects.of_object(json.loads(json.dumps(objects.to_object(snapshot))))
    assert read == snapshot
    assert objects.object_name(read) == objects.object_name(snapshot)


@pytest.mark.parametrize(
    ("quantity", "size"),
    [
        *(("4096", 4096), (4096, 4096), ("5M", 5_000_000), ("12k", 12_000), ("3Gi", 3 << 30), ("1Ki", 1024)),
        *(
            (None, 0),
            ("", 0),
            ("-5", 0),
            ("5m", 0),
            ("1e9", 0),
            ("9" * 100, 0),
            ("ki", 0),
            ({}, 0),
            ("٣", 0),
        ),
    ],
)
def test_sizes_are_read_as_rke2_writes_them(quantity: object, size: int) -> None:
    assert objects.of_object({"status": {"size": quantity}}).size == size


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": None, "spec": None, "status": None},
        {"metadata": [], "spec": "a", "status": 5},
        {"spec": {"s3": "a", "metadata": ["b"]}, "status": {"error": [], "creationTime": 7, "size": []}},
        {"status": {"creationTime": "0001-01-01T00:00:00+14:00"}},
        {"status": {"error": {"time": "9999-12-31T23:59:59Z"}}},
    ],
)
def test_a_malformed_object_breaks_nothing(obj: dict[str, object]) -> None:
    snapshot = objects.of_object(obj)
    assert objects.object_name(snapshot).startswith(("local-", "s3-"))
    assert snapshot.created + timedelta(days=1) < datetime.now(UTC)
    objects.entries([replace(snapshot, metadata={"a": "b"})])


def test_a_failure_is_dated_by_its_error() -> None:
    status = {"creationTime": "2025-01-01T00:00:00Z", "error": {"time": "2025-08-11T10:08:01Z"}}
    read = objects.of_object({"status": status})
    assert (read.created, read.error) == (WHEN, "etcd snapshot failed")


def test_times_are_written_in_utc() -> None:
    there = WHEN.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert objects.time_text(there) == "2025-08-11T10:08:01Z"
    assert objects.time_of("2025-08-11T15:38:01+05:30") == WHEN


def test_what_others_wrote_is_made_short_and_printable() -> None:
    strange = in_s3(
        "node\n1\x1b[31m",
        name="a",
        token_hash="a\nb" * 100,
        error="cut\toff " * 1000,
        metadata={"a": "x" * (1 << 20)},
    )
    (found,) = objects.recordable([strange])
    assert found.node == "node 1 [31m"
    assert found.token_hash.isprintable() and len(found.token_hash) == 64
    assert found.error.isprintable() and len(found.error) == 1024
    assert found.metadata == {}


def test_an_object_in_s3_that_does_not_say_who_made_it_is_s3s() -> None:
    assert [snapshot.node for snapshot in objects.recordable([in_s3("", name="a")])] == ["s3"]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u202eb", "a" * 1025, "a\udcff"])
def test_a_file_that_no_terminal_can_show_gets_no_object(name: str) -> None:
    good = local(metadata={"kept": "as\nit is"})
    assert objects.recordable([in_s3(name=name), good, local(location=name * 10)]) == [good]


def test_a_bucket_cannot_fill_etcd() -> None:
    found = [in_s3(seconds=second) for second in range(1200)] + [local(seconds=second) for second in (3, 1)]
    kept = objects.recordable(found)
    assert [snapshot.created.timestamp() for snapshot in kept if snapshot.s3 is None] == [1, 3]
    times = [snapshot.created.timestamp() for snapshot in kept if snapshot.s3 is not None]
    assert times == list(range(200, 1200))


def test_a_list_names_snapshots_by_their_keys_the_oldest_first() -> None:
    listed = objects.listing([in_s3(seconds=9), local(seconds=7, name="über-node1-7")])
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "List")
    assert [item["metadata"]["name"] for item in listed["items"]] == [
        "local-_ber-node1-7",
        "s3-etcd-snapshot-node1-9",
    ]
    assert {item["kind"] for item in listed["items"]} == {"ETCDSnapshotFile"}
    assert not any("finalizers" in item["metadata"] for item in listed["items"])


def unpacked(value: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(value)
    return found


def test_rancher_finds_a_snapshot_in_the_config_map() -> None:
    metadata = {"b": "2", "a": "<1>"}
    (value,) = objects.entries([in_s3("node2", metadata=metadata, name="nightly.zip")]).values()
    entry = unpacked(value)
    assert json.loads(base64.b64decode(str(entry.pop("metadata")))) == metadata
    assert entry == {
        "name": "nightly.zip",
        "location": "s3://backups/prod/nightly.zip",
        "nodeName": "s3",
        "createdAt": "2025-08-11T10:08:01Z",
        "size": 4096,
        "status": "successful",
        "s3Config": {
            "endpoint": "s3.example.org",
            "bucket": "backups",
            "region": "eu-1",
            "folder": "prod",
        },
        "compressed": True,
    }


def test_rancher_sees_why_one_failed() -> None:
    (value,) = objects.entries([local(metadata={"a": "b"}, size=0, location="", error="disk full")]).values()
    entry = unpacked(value)
    assert base64.b64decode(str(entry["message"])) == b"disk full"
    assert (entry["status"], entry["nodeName"], entry["compressed"]) == ("failed", "node1", False)
    assert not {"size", "location", "s3Config"} & entry.keys()


def test_only_snapshots_with_metadata_are_in_the_config_map() -> None:
    with_some = local(metadata={"a": "b"})
    assert list(objects.entries([local(seconds=1), with_some])) == [objects.key(with_some)]


def test_the_oldest_are_left_out_of_a_config_map_that_would_be_too_large() -> None:
    large = {"a": "x" * 300_000}
    found = [local(seconds=second, metadata=large) for second in (4, 1, 3, 2)]
    # Smaller, and older than one that is left out.
    found += [local(seconds=0, metadata={"a": "b"}), local(seconds=9, metadata={"a": "x" * 1_000_000})]
    assert set(objects.entries(found)) == {"local-etcd-snapshot-node1-3", "local-etcd-snapshot-node1-4"}


SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 800)), max_size=12)


@given(SIZES)
def test_a_config_map_holds_as_many_of_the_newest_as_fit(sizes: list[tuple[int, int]]) -> None:
    found = [
        local(seconds=second, name=f"n{number}-{second}", metadata={"a": "x" * size})
        for number, (second, size) in enumerate(sizes)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "_LARGEST_CONFIG_MAP", 3000)
        kept = objects.entries(found)
    assert sum(len(key) + len(value) for key, value in kept.items()) <= 3000
    times = {objects.key(snapshot): snapshot.created for snapshot in found}
    left_out = [time for key, time in times.items() if key not in kept]
    assert not left_out or max(left_out) <= min(times[key] for key in kept)


def test_a_key_that_the_api_rejects_spoils_no_others() -> None:
    found = [local(name="a" * 250, metadata={"a": "b"}), local(metadata={"a": "b"})]
    assert list(objects.entries(found)) == [objects.key(found[1])]


GOOD = Verification("a", WHEN, ok=True, message="restored,\nrevision 5")


def test_a_verification_is_a_condition() -> None:
    assert objects.condition(GOOD) == {
        "type": "Verified",
        "status": "True",
        "reason": "VerificationSucceeded",
        "message": "restored, revision 5",
        "lastTransitionTime": "2025-08-11T10:08:01Z",
    }
    bad = objects.condition(replace(GOOD, ok=False))
    assert (bad["status"], bad["reason"]) == ("False", "VerificationFailed")


@pytest.mark.parametrize(
    ("status", "others"),
    [
        ({}, []),
        ({"conditions": None}, []),
        ({"conditions": [{"type": "Other"}]}, [{"type": "Other"}]),
        (
            {"conditions": [objects.condition(replace(GOOD, ok=False)), {"type": "Other"}]},
            [{"type": "Other"}],
        ),
    ],
)
def test_a_new_result_replaces_the_last_one_and_no_other_condition(
    status: dict[str, object], others: list[object]
) -> None:
    assert objects.conditions_with({"status": status}, GOOD) == [*others, objects.condition(GOOD)]


def test_a_result_that_is_there_is_not_written_again() -> None:
    obj = objects.to_object(local(), GOOD)
    assert objects.conditions_with(obj, GOOD) is None
