"""Operations on a node whose etcd, cluster and S3 are stand-ins."""

import json
import os
import stat
import subprocess
import sys
import time
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.snapshots import lock, operations, records, saving
from rke2_units.snapshots.request import Answer
from rke2_units.snapshots.snapshot import Snapshot
from tests.unit.kubernetes_api import ApiServer, Reply, Request, refused, served
from tests.unit.snapshots.snapshot_node import NODE, Bucket, Cluster, SnapshotNode, Verifier

NOW = 1_700_000_000
S3 = {"bucket": "bucket", "endpoint": "s3.example.org"}
ZIP_OF_NOW = f"etcd-snapshot-{NODE}-{NOW}.zip"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still."""
    monkeypatch.setattr(time, "time", lambda: float(NOW))


@pytest.fixture
def api(tmp_path: Path, cluster: Cluster) -> Iterator[tuple[SnapshotNode, ApiServer]]:
    """A node that reaches a Kubernetes API."""
    with served() as server:
        node = SnapshotNode(tmp_path, url=server.url)
        with node.stack:
            yield node, server


def names_of(answer: Answer) -> object:
    assert answer.status == 200, answer.body
    return answer.body


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# save


def test_a_save_makes_one_file_and_tells_the_cluster(node: SnapshotNode, cluster: Cluster) -> None:
    name = f"on-demand-{NODE}-{NOW}"
    assert names_of(node.ask("save", name=["on-demand"])) == {"created": [name]}
    assert node.files() == [f"snapshots/{name}"]
    path = node.snapshots / name
    assert path.read_bytes() == node.content
    assert (mode(path), mode(node.snapshots)) == (0o600, 0o700)
    found = cluster.last["found"][f"local-{name}"]
    assert found == Snapshot(
        name, NODE, f"file://{path}", len(node.content), datetime.fromtimestamp(NOW, UTC), {}, "2bb80d537b1d"
    )
    assert (cluster.last["node"], cluster.last["with_s3"], cluster.last["failed"]) == (NODE, False, [])
    # An etcdctl of any version is asked for the status and the snapshot of this member alone.
    asked = (node.etcd / "asked").read_text().splitlines()
    assert [line.split()[-2:] for line in asked] == [["endpoint", "status"], ["save", f"{path}.part"]]


def test_the_servers_base_name_counts_unless_another_is_given(node: SnapshotNode, cluster: Cluster) -> None:
    assert names_of(node.ask("save")) == {"created": [f"etcd-snapshot-{NODE}-{NOW}"]}


def test_a_compressed_snapshot_is_an_archive_alone(node: SnapshotNode, cluster: Cluster) -> None:
    assert names_of(node.ask("save", compress=True)) == {"created": [ZIP_OF_NOW]}
    assert node.files() == [f"snapshots/{ZIP_OF_NOW}"]
    assert mode(node.snapshots / ZIP_OF_NOW) == 0o600
    with zipfile.ZipFile(node.snapshots / ZIP_OF_NOW) as archive:
        assert archive.namelist() == [ZIP_OF_NOW.removesuffix(".zip")]
        assert archive.read(archive.namelist()[0]) == node.content


def test_extra_metadata_lie_beside_the_folder(api: tuple[SnapshotNode, ApiServer], cluster: Cluster) -> None:
    node, server = api
    server.answer = lambda request: Reply(body={"data": {"backup": "nightly", "who": "me"}})
    node.ask("save", compress=True)
    path = node.metadata / ZIP_OF_NOW
    assert json.loads(path.read_text()) == {"backup": "nightly", "who": "me"}
    assert (mode(path), mode(node.metadata)) == (0o700, 0o700)
    assert cluster.last["found"][f"local-{ZIP_OF_NOW}"].metadata == {"backup": "nightly", "who": "me"}
    [asked] = server.requests
    assert asked.path == "/api/v1/namespaces/kube-system/configmaps/rke2-etcd-snapshot-extra-metadata"


@pytest.mark.parametrize(
    "reply", [refused(404, "NotFound"), refused(403, "Forbidden"), Reply(body={"data": None})]
)
def test_a_snapshot_needs_no_extra_metadata(
    api: tuple[SnapshotNode, ApiServer], reply: Reply, capsys: pytest.CaptureFixture[str]
) -> None:
    node, server = api
    server.answer = lambda request: reply
    names_of(node.ask("save"))
    assert node.files() == [f"snapshots/etcd-snapshot-{NODE}-{NOW}"]
    assert ("no extra metadata" in capsys.readouterr().err) is (reply.status == 403)


def test_a_name_that_exists_is_never_overwritten(node: SnapshotNode, cluster: Cluster) -> None:
    node.put(f"on-demand-{NODE}-{NOW}", b"mine")
    node.put(f"on-demand-{NODE}-{NOW + 1}.zip", b"mine")
    assert names_of(node.ask("save", name=["on-demand"])) == {"created": [f"on-demand-{NODE}-{NOW + 2}"]}
    assert (node.snapshots / f"on-demand-{NODE}-{NOW}").read_bytes() == b"mine"


def test_a_clock_that_stands_still_is_named(
    node: SnapshotNode, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_SECONDS_AHEAD", 1)
    node.put(f"on-demand-{NODE}-{NOW}", b"mine")
    answer = node.ask("save", name=["on-demand"])
    assert answer.status == 500 and "clock" in str(answer.body["message"])
    assert (node.snapshots / f"on-demand-{NODE}-{NOW}").read_bytes() == b"mine"


def test_a_second_save_at_the_same_time_fails(node: SnapshotNode, cluster: Cluster) -> None:
    node.settings()
    with lock.held(str(node.db / "snapshot-save.lock")):
        answer = node.ask("save")
    assert (answer.status, answer.body["message"]) == (500, "snapshot save already in progress")
    assert node.files() == [] and cluster.calls == []
    names_of(node.ask("save"))


def test_the_schedule_waits_for_a_save_but_not_for_ever(
    node: SnapshotNode, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_PATIENCE", 0.5)
    with lock.held(str(node.db / "snapshot-save.lock")), pytest.raises(UserError, match="in progress"):
        node.operations().scheduled()
    failed = records.read(str(node.records)).failed
    assert failed is not None and failed.message == "snapshot save already in progress"


def test_a_learner_has_no_snapshot_and_no_error(
    node: SnapshotNode, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    node.has_status(isLearner=True)
    assert names_of(node.ask("save")) == {}
    assert node.operations().scheduled()
    assert node.files() == []
    assert capsys.readouterr().err.count("<4>Unable to take snapshot: not supported for learner") == 2
    assert records.read(str(node.records)).saved is None


# What goes wrong


def failed_save(node: SnapshotNode, cluster: Cluster, **values: object) -> tuple[str, Snapshot]:
    """The message of a save that fails; nothing of it is left."""
    before = node.files()
    answer = node.ask("save", **values)
    assert answer.status == 500
    assert node.files() == before
    [failed] = cluster.last["failed"]
    assert (failed.size, failed.s3) == (0, None)
    assert failed.error and failed.error in str(answer.body["message"])
    assert failed.location.endswith(f"/{failed.name}")
    return str(answer.body["message"]), failed


def test_an_etcd_that_is_down_is_told(node: SnapshotNode, cluster: Cluster) -> None:
    (node.etcd / "down").touch()
    message, failed = failed_save(node, cluster)
    assert "context deadline exceeded" in message
    assert failed.name == f"etcd-snapshot-{NODE}-{NOW}"


@pytest.mark.parametrize("compress", [False, True])
def test_a_disk_that_fills_up_leaves_nothing(node: SnapshotNode, cluster: Cluster, compress: bool) -> None:
    (node.etcd / "full").touch()
    message, _ = failed_save(node, cluster, compress=compress)
    assert "no space left on device" in message and "MiB free" in message


def test_a_disk_that_fills_up_while_compressing_leaves_nothing(
    node: SnapshotNode, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, target: str, name: str, tick: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device", target)

    monkeypatch.setattr("rke2_units.snapshots.compression.compress", full)
    message, _ = failed_save(node, cluster, compress=True)
    assert "No space left on device" in message


Disk = namedtuple("Disk", "f_blocks f_bavail f_frsize")


@pytest.mark.parametrize(
    ("mib", "compress", "words"),
    [(99, False, "99 MiB free, 164 MiB needed"), (200, True, "200 MiB free, 265 MiB needed")],
)
def test_free_space_is_looked_at_before(
    node: SnapshotNode,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    mib: int,
    compress: bool,
    words: str,
) -> None:
    node.has_status(dbSize=100 << 20)
    monkeypatch.setattr(os, "statvfs", lambda path: Disk(1 << 20, mib << 8, 4096))
    message, _ = failed_save(node, cluster, compress=compress)
    assert words in message
    assert "snapshot save" not in (node.etcd / "asked").read_text()
    # A file system that does not tell.
    monkeypatch.setattr(os, "statvfs", lambda path: Disk(0, 0, 4096))
    names_of(node.ask("save"))


@pytest.mark.parametrize("content", [b"", b"x" * 1056, b"short"])
def test_what_etcdctl_writes_is_looked_at(node: SnapshotNode, cluster: Cluster, content: bytes) -> None:
    (node.etcd / "database").write_bytes(content)
    message, _ = failed_save(node, cluster)
    assert "etcdctl did not save a snapshot: it" in message


def test_an_etcd_that_sends_nothing_is_not_waited_for(
    node: SnapshotNode, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_SILENCE", 1.0)
    os.mkfifo(node.etcd / "wait")
    (node.etcd / "begun").touch()
    message, _ = failed_save(node, cluster)
    assert "sent nothing" in message


def test_the_folder_of_somebody_else_is_not_made(
    node: SnapshotNode, cluster: Cluster, tmp_path: Path
) -> None:
    message, failed = failed_save(node, cluster, dir=f"{tmp_path}/backup")
    assert f"{tmp_path}/backup is not there" in message
    assert failed.location == f"file://{tmp_path}/backup/{failed.name}"
    (tmp_path / "backup").mkdir(mode=0o755)
    names_of(node.ask("save", dir=f"{tmp_path}/backup"))
    assert mode(tmp_path / "backup") == 0o755
    assert os.listdir(tmp_path / "backup") == [failed.name]


def test_records_that_cannot_be_written_do_not_keep_a_snapshot_from_being_taken(
    node: SnapshotNode, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    node.records.mkdir()
    names_of(node.ask("save"))
    assert "snapshot-records.json" in capsys.readouterr().err


def test_progress_is_told(node: SnapshotNode, cluster: Cluster) -> None:
    said: list[str] = []
    node.operations(said.append, compress=True).scheduled()
    assert any(text.startswith(f"saving etcd-snapshot-{NODE}-{NOW}: ") for text in said)
    assert any(text.startswith("compressing ") for text in said)


# list, prune, delete


def test_a_list_has_both_places(node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]) -> None:
    node.put("etcd-snapshot-a-1")
    bucket.objects["on-demand-b-2"] = far("on-demand-b-2")
    assert names_of(node.ask("list")) == {"items": ["local-etcd-snapshot-a-1"]}
    assert bucket.opened == 0
    assert names_of(node.ask("list", s3=S3)) == {"items": ["local-etcd-snapshot-a-1", "s3-on-demand-b-2"]}
    bucket.broken["list"] = "S3 is slow"
    assert names_of(node.ask("list", s3=S3)) == {"items": ["local-etcd-snapshot-a-1"]}
    assert not node.records.exists() and cluster.calls == []


def far(name: str, size: int = 1056) -> Snapshot:
    seconds = int(name.removesuffix(".zip").rpartition("-")[2])
    created = datetime.fromtimestamp(seconds, UTC)
    return Snapshot(name, "n", f"s3://bucket/{name}", size, created, s3={"bucket": "bucket"})


def test_pruning_removes_what_is_too_old_and_its_metadata(
    node: SnapshotNode, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        node.put(f"on-demand-a-{number}")
    node.put("etcd-snapshot-a-0")
    node.metadata.mkdir()
    (node.metadata / "on-demand-a-0").write_text("{}")
    answer = names_of(node.ask("prune", name=["on-demand"], retention=2))
    assert answer == {"deleted": ["on-demand-a-0", "on-demand-a-1"]}
    assert node.files() == [
        f"snapshots/{name}" for name in ("etcd-snapshot-a-0", "on-demand-a-2", "on-demand-a-3")
    ]
    assert cluster.last["deleted"] == ["on-demand-a-0", "on-demand-a-1"]
    assert capsys.readouterr().err.count("<6>Removing local snapshot ") == 2
    assert names_of(node.ask("prune", name=["on-demand"], retention=2)) == {}


def test_pruning_keeps_a_good_one_when_the_newest_are_damaged(node: SnapshotNode, cluster: Cluster) -> None:
    for number, content in enumerate([None, None, b"", b"x" * 1056, node.content[:-1]]):
        node.put(f"on-demand-a-{number}", content)
    node.put("on-demand-a-5.zip", b"PK")
    assert names_of(node.ask("prune", name=["on-demand"], retention=3)) == {
        "deleted": ["on-demand-a-0", "on-demand-a-2"]
    }


def test_pruning_passes_over_what_is_no_snapshot(node: SnapshotNode, cluster: Cluster) -> None:
    node.put("on-demand-a-9")
    (node.snapshots / "on-demand-old").mkdir()
    (node.snapshots / "on-demand-old" / "on-demand-a-1").write_bytes(node.content)
    os.symlink("/etc/passwd", node.snapshots / "on-demand-a-2")
    node.put("on-demand-a-3.part")
    assert names_of(node.ask("prune", name=["on-demand"], retention=1)) == {}
    assert node.names() == ["on-demand-a-2", "on-demand-a-3.part", "on-demand-a-9", "on-demand-old"]


def test_retention_counts_in_s3_for_itself(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]
) -> None:
    for number in range(3):
        node.put(f"on-demand-a-{number}")
        for name in (f"on-demand-a-{number}", f"on-demand-b-{number}"):
            bucket.objects[name] = far(name)
    answer = names_of(node.ask("prune", name=["on-demand"], retention=3, s3={**S3, "retention": 5}))
    assert answer == {"deleted": ["on-demand-a-0"]}
    assert len(node.names()) == 3 and len(bucket.objects) == 5
    assert cluster.last["with_s3"] and len(cluster.last["found"]) == 8


def test_deleting_names_what_was_there(node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]) -> None:
    node.put("a-1")
    node.put("a-2")
    bucket.objects["a-1"] = far("a-1")
    assert names_of(node.ask("delete", name=["a-1", "none"])) == {"deleted": ["a-1"]}
    assert list(bucket.objects) == ["a-1"]
    assert names_of(node.ask("delete", name=["a-1", "a-2"], s3=S3)) == {"deleted": ["a-1", "a-2"]}
    assert not bucket.objects and node.names() == []
    assert names_of(node.ask("delete", name=["a-1"])) == {}
    answer = node.ask("delete")
    assert (answer.status, answer.body["message"]) == (400, "no snapshots given for removal")


def test_only_s3_fails(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    node.put("a-1")
    bucket.broken["delete"] = "S3 says 403"
    assert names_of(node.ask("delete", name=["a-1"], s3=S3)) == {"deleted": ["a-1"]}
    assert "<3>failed to delete snapshot a-1 from S3: S3 says 403" in capsys.readouterr().err
    answer = node.ask("delete", name=["a-1"], s3=S3)
    assert answer.status == 500 and "403" in str(answer.body["message"])


def test_in_other_folders_of_the_machine_only_snapshots_are_removed(
    node: SnapshotNode, cluster: Cluster, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "passwd").write_text("root:x:0:0\n")
    for number in range(3):
        (other / f"p-{number}").write_bytes(node.content)
    assert node.ask("delete", dir=str(other), name=["passwd"]).status == 500
    assert names_of(node.ask("prune", dir=str(other), name=["p"], retention=1)) == {
        "deleted": ["p-0", "p-1"]
    }
    assert names_of(node.ask("delete", dir=str(other), name=["p-2", "none"])) == {"deleted": ["p-2"]}
    assert os.listdir(other) == ["passwd"]


# S3


def test_a_saved_snapshot_is_uploaded(node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]) -> None:
    names_of(node.ask("save", s3=S3))
    [uploaded] = bucket.objects.values()
    assert (uploaded.name, uploaded.token_hash) == (f"etcd-snapshot-{NODE}-{NOW}", "2bb80d537b1d")
    assert cluster.last["with_s3"] and sorted(cluster.last["found"]) == [
        f"local-etcd-snapshot-{NODE}-{NOW}",
        f"s3-etcd-snapshot-{NODE}-{NOW}",
    ]


def test_a_bucket_that_is_not_there_ends_a_request_before_anything_is_done(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]
) -> None:
    bucket.broken["open"] = 'bucket "bucket" does not exist'
    for operation in ("save", "list", "prune", "delete"):
        answer = node.ask(operation, s3=S3, **({"name": ["a"]} if operation == "delete" else {}))
        assert answer.status == 400
        assert answer.body["message"] == 'failed to initialize S3 client: bucket "bucket" does not exist'
    answer = node.ask("save", s3={})
    assert (answer.status, "s3 configuration was not set" in str(answer.body["message"])) == (400, True)
    assert node.files() == []


def test_an_upload_that_fails_leaves_the_local_snapshot(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.broken["upload"] = "the connection was cut"
    name = f"etcd-snapshot-{NODE}-{NOW}"
    assert names_of(node.ask("save", s3={**S3, "folder": "/f/"})) == {"created": [name]}
    assert "<3>failed to upload" in capsys.readouterr().err
    [failed] = cluster.last["failed"]
    assert (failed.key, failed.size, failed.error) == (f"s3-{name}", 0, "the connection was cut")
    assert failed.location == f"s3://bucket/f/{name}"
    assert failed.s3["bucket"] == "bucket"


def test_a_request_removes_old_ones_only_when_it_says_how_many(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]
) -> None:
    for number in range(9):
        node.put(f"on-demand-a-{number}")
        bucket.objects[f"on-demand-a-{number}"] = far(f"on-demand-a-{number}")
    for values in ({}, {"retention": 0}):
        names_of(node.ask("save", name=["on-demand"], s3={**S3, "retention": 1}, **values))
    assert len(node.names()) == len(bucket.objects) == 11
    names_of(node.ask("save", name=["on-demand"], retention=2, s3={**S3, "retention": 1}))
    assert (len(node.names()), len(bucket.objects)) == (2, 1)


def secret(request: Request) -> Reply:
    import base64

    data = {"etcd-s3-bucket": "secret-bucket", "etcd-s3-retention": "1"}
    if request.path.endswith("/secrets/s3"):
        return Reply(
            body={"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}
        )
    return refused(404, "NotFound")


def test_the_configuration_can_be_in_a_secret_which_is_read_each_time(
    api: tuple[SnapshotNode, ApiServer], bucket: type[Bucket]
) -> None:
    node, server = api
    server.answer = secret
    assert node.operations(s3={"config_secret": "s3"}).scheduled()
    assert len(bucket.objects) == 1
    server.answer = lambda request: refused(404, "NotFound")
    names_of(node.ask("list"))
    answer = node.ask("save", s3={"configSecret": "s3"})
    assert answer.status == 400 and "etcd-s3-config-secret s3" in str(answer.body["message"])


def test_without_its_secret_the_schedule_takes_a_local_snapshot(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.operations(s3={"config_secret": "s3"}).scheduled()
    assert len(node.names()) == 1 and bucket.opened == 0
    assert "<4>S3 is left out: failed to get config from etcd-s3-config-secret s3" in capsys.readouterr().err
    assert not cluster.last["with_s3"]


def test_a_secret_beside_other_values_is_not_read(
    api: tuple[SnapshotNode, ApiServer], bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    node, server = api
    assert node.operations(s3={"config_secret": "s3", "bucket": "bucket"}).scheduled()
    assert "<4>the Secret s3 is ignored" in capsys.readouterr().err
    assert not [request for request in server.requests if "secrets" in request.path]


# The schedule


def test_a_scheduled_run_saves_prunes_uploads_and_keeps_a_record(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        node.put(f"etcd-snapshot-a-{number}")
        bucket.objects[f"etcd-snapshot-a-{number}"] = far(f"etcd-snapshot-a-{number}")
    s3 = {"bucket": "bucket", "retention": 3}
    assert node.operations(retention="2", compress=True, s3=s3).scheduled()
    assert node.names() == ["etcd-snapshot-a-2", ZIP_OF_NOW]
    assert sorted(bucket.objects) == ["etcd-snapshot-a-1", "etcd-snapshot-a-2", ZIP_OF_NOW]
    found = records.read(str(node.records))
    assert found.saved is not None and found.failed is None and found.unfinished == ""
    assert (found.saved.name, found.saved.time) == (ZIP_OF_NOW, datetime.fromtimestamp(NOW, UTC))
    assert found.saved.size == (node.snapshots / ZIP_OF_NOW).stat().st_size
    assert {key for key, histogram in found.durations.items() if sum(histogram.counts) == 1} == {
        (name, "success") for name in records.DURATIONS
    }
    said = capsys.readouterr().err
    assert said.count("\n") == len(said.splitlines()) == 6
    assert f"<6>Snapshot {ZIP_OF_NOW} saved: 0." in said


def test_whoever_asks_for_metrics_finds_those_of_the_last_run(
    node: SnapshotNode, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "REQUESTS", str(node.folder))
    node.operations().reconcile()
    node.operations().scheduled()
    text = (node.folder / layout.SNAPSHOT_METRICS_NAME).read_text()
    assert 'rke2_etcd_snapshot_save_duration_seconds_count{status="success"} 1' in text
    assert 'rke2_etcd_snapshot_reconcile_duration_seconds_count{status="success"} 2' in text


def test_without_retention_nothing_is_removed_here_and_s3_has_its_own(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]
) -> None:
    for number in range(9):
        node.put(f"etcd-snapshot-a-{number}")
        bucket.objects[f"etcd-snapshot-a-{number}"] = far(f"etcd-snapshot-a-{number}")
    assert node.operations(retention="0", s3={"bucket": "bucket", "retention": 2}).scheduled()
    assert (len(node.names()), len(bucket.objects)) == (10, 2)


def test_snapshots_from_the_future_do_not_push_out_the_new_one(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]
) -> None:
    for number in range(2):
        node.put(f"etcd-snapshot-a-{2 * NOW + number}")
        bucket.objects[f"etcd-snapshot-a-{2 * NOW + number}"] = far(f"etcd-snapshot-a-{2 * NOW + number}")
    assert node.operations(retention="2", s3={"bucket": "bucket", "retention": 2}).scheduled()
    name = f"etcd-snapshot-{NODE}-{NOW}"
    assert name in node.names() and name in bucket.objects


def test_a_failed_run_is_remembered_until_one_is_good_again(node: SnapshotNode, cluster: Cluster) -> None:
    assert node.operations().scheduled()
    first = records.read(str(node.records)).saved
    (node.etcd / "full").touch()
    assert not node.operations().scheduled()
    found = records.read(str(node.records))
    assert found.saved == first
    assert found.failed is not None and "no space left" in found.failed.message
    assert sum(found.durations["save", "error"].counts) == 1
    (node.etcd / "full").unlink()
    assert node.operations().scheduled()
    assert records.read(str(node.records)).failed is None


def test_a_run_without_s3_has_failed_but_the_snapshot_is_there(
    node: SnapshotNode, cluster: Cluster, bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.broken["open"] = "connection refused"
    assert not node.operations(s3={"bucket": "bucket"}).scheduled()
    found = records.read(str(node.records))
    assert found.saved is not None and found.failed is not None
    assert "connection refused" in found.failed.message
    # It may take minutes to find out: once is enough, and so is one line.
    assert bucket.opened == 1
    assert capsys.readouterr().err.count("connection refused") == 1
    [failed] = cluster.last["failed"]
    assert failed.key.startswith("s3-") and not cluster.last["with_s3"]


def test_s3_that_is_configured_wrongly_is_told(node: SnapshotNode, cluster: Cluster) -> None:
    assert not node.operations(s3={"region": "eu-1"}).scheduled()
    failed = records.read(str(node.records)).failed
    assert failed is not None and "s3 bucket name was not set" in failed.message
    assert len(node.names()) == 1


def test_a_cluster_that_cannot_be_told_is_a_warning(
    node: SnapshotNode, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **more: object) -> bool:
        raise UserError("the API does not answer")

    monkeypatch.setattr(sys.modules["rke2_units.snapshots.reconcile"], "reconcile", fail)
    assert node.operations().scheduled()
    assert "<4>failed to reconcile snapshots: the API does not answer" in capsys.readouterr().err


# reconcile, verify


def test_reconcile_knows_both_places(node: SnapshotNode, cluster: Cluster, bucket: type[Bucket]) -> None:
    node.put("a-1")
    bucket.objects["b-2"] = far("b-2")
    node.operations(s3={"bucket": "bucket"}).reconcile()
    assert sorted(cluster.last["found"]) == ["local-a-1", "s3-b-2"] and cluster.last["with_s3"]
    bucket.broken["list"] = "slow"
    node.operations(s3={"bucket": "bucket"}).reconcile()
    assert sorted(cluster.last["found"]) == ["local-a-1"] and not cluster.last["with_s3"]
    node.operations().reconcile()
    assert not cluster.last["with_s3"]


def test_the_newest_snapshot_is_verified_and_the_result_kept(
    node: SnapshotNode, cluster: Cluster, verifier: Verifier
) -> None:
    node.put("a-1")
    newest = node.put("b-2")
    node.operations().verify_newest()
    assert verifier.paths == [str(newest)]
    found = records.read(str(node.records)).verified
    assert found is not None and (found.name, found.ok, found.details) == ("b-2", True, {"keys": 3})
    assert cluster.last["verified"].name == "b-2"
    answer = node.ask("verify", name=["a-1"])
    assert answer.body["verified"]["name"] == "a-1"  # type: ignore[index]
    verifier.result = {"ok": False, "message": "revision 3 in place of 4"}
    with pytest.raises(UserError, match="revision 3"):
        node.operations().verify_newest()
    found = records.read(str(node.records)).verified
    assert found is not None and not found.ok


def test_without_a_snapshot_there_is_nothing_to_verify(node: SnapshotNode, cluster: Cluster) -> None:
    assert node.ask("verify").status == 500
    with pytest.raises(UserError, match="no snapshot on this node"):
        node.operations().verify_newest()


_SAVE = (
    "import sys; from tests.unit.snapshots import snapshot_node; snapshot_node.install()\n"
    "from pathlib import Path\n"
    "print(snapshot_node.SnapshotNode(Path(sys.argv[1])).ask('save').line())"
)


def test_of_two_processes_one_saves(node: SnapshotNode, cluster: Cluster) -> None:
    os.mkfifo(node.etcd / "wait")
    os.mkfifo(node.etcd / "begun")
    command = [sys.executable, "-c", _SAVE, str(node.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        (node.etcd / "begun").read_text()
        assert node.ask("save").body["message"] == "snapshot save already in progress"
        (node.etcd / "wait").write_text("")
        assert other.stdout is not None
        assert json.loads(other.stdout.read())["status"] == 200
    assert len(node.files()) == 1
