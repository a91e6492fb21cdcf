import hashlib
import logging
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from rke2_units.errors import UserError
from rke2_units.snapshots import bucket as bucket_module
from rke2_units.snapshots import s3_upload
from rke2_units.snapshots.bucket import Bucket
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.snapshots.snapshot import Snapshot
from tests.unit.snapshots.s3_server import FaultyS3, S3Server

pytestmark = pytest.mark.usefixtures("few_attempts")

NAME = "etcd-snapshot-server-1-1700000000"
TIME = datetime.fromtimestamp(1700000000, UTC)


@pytest.fixture
def config(s3: S3Server, request: pytest.FixtureRequest) -> S3Config:
    """A bucket of the test's own."""
    digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    return s3.config(f"test-{digest}", folder="folder", timeout=20.0)


@pytest.fixture
def bucket(config: S3Config) -> Iterator[Bucket]:
    with Bucket(config) as bucket:
        yield bucket


def snapshot(name: str = NAME, **fields: object) -> Snapshot:
    values = {"node": "server-1", "token_hash": "0123456789ab", "metadata": {"owner": "ops"}, **fields}
    return Snapshot(name, location="", size=0, created=TIME, **values)  # type: ignore[arg-type]


def make_file(directory: Path, size: int = 100_000, name: str = NAME) -> Path:
    folder = directory / "db" / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def failure_of(config: S3Config) -> str:
    with pytest.raises(UserError) as failed, Bucket(config):
        raise AssertionError("the bucket is open")
    return str(failed.value)


def test_a_snapshot_lies_in_s3_as_rke2_leaves_it(
    bucket: Bucket, config: S3Config, s3: S3Server, tmp_path: Path
) -> None:
    path = make_file(tmp_path, name=f"{NAME}.zip")
    bucket.upload(str(path), snapshot(f"{NAME}.zip"), "cluster")
    assert s3.keys(config.bucket) == [f"folder/.metadata/{NAME}.zip", f"folder/{NAME}.zip"]
    noted = {"rke2-cluster-id": "cluster", "rke2-node-name": "server-1", "rke2-token-hash": "0123456789ab"}
    for key, kind in ((f"folder/{NAME}.zip", "zip"), (f"folder/.metadata/{NAME}.zip", "json")):
        head = s3.api.head_object(Bucket=config.bucket, Key=key)
        assert head["ContentType"] == f"application/{kind}"
        assert {name.lower(): value for name, value in head["Metadata"].items()} == noted
    body = s3.api.get_object(Bucket=config.bucket, Key=f"folder/.metadata/{NAME}.zip")["Body"].read()
    assert body == b'{"owner": "ops"}'


def test_what_is_uploaded_is_listed_and_downloaded(bucket: Bucket, config: S3Config, tmp_path: Path) -> None:
    path = make_file(tmp_path)
    uploaded = bucket.upload(str(path), snapshot(), "cluster")
    assert uploaded == Snapshot(
        name=NAME,
        node="server-1",
        location=f"s3://{config.bucket}/folder/{NAME}",
        size=100_000,
        created=TIME,
        metadata={"owner": "ops"},
        token_hash="0123456789ab",
        s3={
            "endpoint": config.endpoint,
            "bucket": config.bucket,
            "bucketLookup": "auto",
            "region": "us-east-1",
            "prefix": "folder",
            "insecure": True,
        },
        cluster_id="cluster",
    )
    assert bucket.list() == [uploaded]
    assert bucket.metadata(NAME) == {"owner": "ops"}
    target = tmp_path / "other" / "db" / "snapshots" / NAME
    target.parent.mkdir(parents=True)
    bucket.download(NAME, str(target))
    assert target.read_bytes() == path.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (tmp_path / "other/db/.metadata" / NAME).read_text() == '{"owner": "ops"}'
    assert os.listdir(target.parent) == [NAME]


def test_a_snapshot_without_metadata_has_none(
    bucket: Bucket, s3: S3Server, config: S3Config, tmp_path: Path
) -> None:
    path = make_file(tmp_path)
    bucket.upload(str(path), snapshot(metadata={}, token_hash=""), "")
    assert s3.keys(config.bucket) == [f"folder/{NAME}"]
    [listed] = bucket.list()
    assert (listed.metadata, listed.token_hash, listed.cluster_id) == ({}, "", "")
    # Of a snapshot that had this name before.
    stale = tmp_path / "db/.metadata" / NAME
    stale.parent.mkdir()
    stale.write_text("{}")
    bucket.download(NAME, str(path))
    assert not stale.exists()


def test_a_list_has_the_snapshots_of_the_folder_alone(
    bucket: Bucket, s3: S3Server, config: S3Config
) -> None:
    for key in (
        "folder/etcd-snapshot-a-1",
        "folder/on-demand-a-2.zip",
        "folder/manual",
        "folder/empty",
        "folder/deeper/etcd-snapshot-a-3",
        "folder/.hidden",
        "folder/.metadata/gone-1",
        "folder2/etcd-snapshot-a-4",
        "etcd-snapshot-a-5",
        "folder/bell\a",
        "folder/" + "x" * 300,
    ):
        s3.api.put_object(Bucket=config.bucket, Key=key, Body=b"" if key.endswith("empty") else b"x")
    found = {one.name: one.created.timestamp() for one in bucket.list()}
    assert found.keys() == {"etcd-snapshot-a-1", "on-demand-a-2.zip", "manual"}
    assert found["on-demand-a-2.zip"] == 2
    assert abs(found["manual"] - time.time()) < 600
    assert [one.name for one in bucket.list("etcd-snapshot")] == ["etcd-snapshot-a-1"]
    with Bucket(replace(config, folder="")) as whole:
        assert [one.location for one in whole.list()] == [f"s3://{config.bucket}/etcd-snapshot-a-5"]


def test_a_list_has_all_pages_but_an_end(
    bucket: Bucket, s3: S3Server, config: S3Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        s3.api.put_object(Bucket=config.bucket, Key=f"folder/a-{number}", Body=b"x")
    assert bucket._client is not None
    api = bucket._client.api
    api.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
    )
    assert [one.name for one in bucket.list()] == [f"a-{number}" for number in range(5)]
    monkeypatch.setattr(bucket_module, "_MOST_OBJECTS", 4)
    with pytest.raises(UserError, match="more than 4 objects.*etcd-s3-folder"):
        bucket.list()


@pytest.mark.parametrize("content", [b"[1]", b"no JSON", b'{"a": 1, "b": "c"}', b"[" * 100_000])
def test_foreign_metadata_is_what_can_be_read_of_it(
    bucket: Bucket, s3: S3Server, config: S3Config, content: bytes
) -> None:
    for key in (f"folder/{NAME}", f"folder/.metadata/{NAME}"):
        s3.api.put_object(Bucket=config.bucket, Key=key, Body=content)
    assert bucket.list()[0].metadata == ({"b": "c"} if b"c" in content else {})


def test_a_snapshot_is_deleted_with_its_metadata(
    bucket: Bucket, s3: S3Server, config: S3Config, tmp_path: Path
) -> None:
    bucket.upload(str(make_file(tmp_path)), snapshot(), "cluster")
    s3.api.put_object(Bucket=config.bucket, Key="folder/.metadata/gone", Body=b"{}")
    assert bucket.delete(NAME)
    assert not bucket.delete(NAME)
    assert not bucket.delete("gone")
    assert s3.keys(config.bucket) == []


def test_the_retention_counts_what_all_nodes_of_this_cluster_have_uploaded(
    s3: S3Server, config: S3Config, tmp_path: Path
) -> None:
    times = {"a": (10, 40, 70), "b": (20, 50), "c": (30, 60)}
    for node, seconds in times.items():
        for second in seconds:
            put(s3, config, f"etcd-snapshot-{node}-{second}", "this")
    put(s3, config, "etcd-snapshot-a-5", "other")
    put(s3, config, "etcd-snapshot-a-6", "")
    put(s3, config, "on-demand-a-7", "this")

    def expired(keep: int, cluster: str = "this") -> list[str]:
        with Bucket(replace(config, retention=keep)) as bucket:
            return [
                one.name.removeprefix("etcd-snapshot-") for one in bucket.expired("etcd-snapshot", cluster)
            ]

    assert expired(4) == ["a-10", "b-20", "c-30"]
    assert expired(1, "other") == expired(0) == expired(7) == expired(1, "") == []


def put(s3: S3Server, config: S3Config, name: str, cluster: str) -> None:
    """An object with the form of a snapshot."""
    metadata = {"Rke2-Cluster-Id": cluster} if cluster else {}
    s3.api.put_object(Bucket=config.bucket, Key=f"folder/{name}", Body=bytes(512 + 32), Metadata=metadata)


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", ".metadata", "a\nb", "x" * 256])
def test_only_a_file_name_is_a_name(bucket: Bucket, name: str, tmp_path: Path) -> None:
    for call in (
        lambda: bucket.delete(name),
        lambda: bucket.metadata(name),
        lambda: bucket.download(name, str(tmp_path / "x")),
        lambda: bucket.upload(str(tmp_path / "x"), snapshot(name), ""),
    ):
        with pytest.raises(UserError, match="invalid snapshot name") as refused:
            call()
        assert str(refused.value).isprintable()


# Uploads in parts.


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest that S3 takes."""
    monkeypatch.setattr(s3_upload, "PART_SIZE", 5 << 20)


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_is_uploaded_in_parts(
    config: S3Config, faulty_s3: FaultyS3, s3: S3Server, tmp_path: Path
) -> None:
    path = make_file(tmp_path, size=(11 << 20) + 1)
    arrived: list[int] = []
    with Bucket(replace(config, endpoint=f"127.0.0.1:{faulty_s3.port}")) as bucket:
        bucket.upload(str(path), snapshot(), "cluster", arrived.append)
        bucket.download(NAME, str(tmp_path / "downloaded"))
    assert (tmp_path / "downloaded").read_bytes() == path.read_bytes()
    assert faulty_s3.requests().count(f"PUT /{config.bucket}/folder/{NAME}") == 3
    assert arrived == [5 << 20, 10 << 20, (11 << 20) + 1]
    head = s3.api.head_object(Bucket=config.bucket, Key=f"folder/{NAME}")
    assert head["ContentType"] == "application/octet-stream"
    assert len(head["Metadata"]) == 3


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("fault", "timeout", "expected"),
    [
        ("cut upload", 60.0, "the connection was cut"),
        ("held upload", 5.0, "not done within 5 s"),
    ],
)
def test_an_upload_that_fails_leaves_nothing(
    config: S3Config,
    faulty_s3: FaultyS3,
    s3: S3Server,
    tmp_path: Path,
    fault: str,
    timeout: float,
    expected: str,
) -> None:
    path = make_file(tmp_path, size=16 << 20)
    with Bucket(replace(config, endpoint=f"127.0.0.1:{faulty_s3.port}", timeout=timeout)) as bucket:
        faulty_s3.be(fault)
        began = time.monotonic()
        with pytest.raises(UserError) as failed:
            bucket.upload(str(path), snapshot(metadata={}), "")
        assert time.monotonic() - began < timeout + 10
    assert expected in str(failed.value)
    assert f"cannot upload s3://{config.bucket}/folder/{NAME} at http://127.0.0.1" in str(failed.value)
    assert s3.keys(config.bucket) == []
    assert s3.unfinished(config.bucket) == []


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("fault", "expected"), [("503", "overloaded"), ("403", "access denied")])
def test_an_upload_that_is_refused_in_the_middle_leaves_no_object(
    config: S3Config, faulty_s3: FaultyS3, s3: S3Server, tmp_path: Path, fault: str, expected: str
) -> None:
    path = make_file(tmp_path, size=16 << 20)
    with Bucket(replace(config, endpoint=f"127.0.0.1:{faulty_s3.port}", timeout=60.0)) as bucket:
        with pytest.raises(UserError, match=expected):
            bucket.upload(str(path), snapshot(metadata={}), "", lambda size: faulty_s3.be(fault))
        assert s3.keys(config.bucket) == []
        faulty_s3.be("")
        # The server did not let it be removed.
        assert s3.unfinished(config.bucket) == [f"folder/{NAME}"]
        bucket.upload(str(path), snapshot(), "")
    assert s3.unfinished(config.bucket) == []


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("fault", ["cut upload once", "503 once"])
def test_a_fault_that_passes_is_passed_over(
    config: S3Config, faulty_s3: FaultyS3, tmp_path: Path, fault: str
) -> None:
    path = make_file(tmp_path, size=11 << 20)
    with Bucket(replace(config, endpoint=f"127.0.0.1:{faulty_s3.port}")) as bucket:
        faulty_s3.be(fault)
        bucket.upload(str(path), snapshot(), "")
        bucket.download(NAME, str(tmp_path / "downloaded"))
    assert faulty_s3.fault_file.read_text() == ""
    assert (tmp_path / "downloaded").read_bytes() == path.read_bytes()


def test_what_killed_uploads_of_this_node_have_left_is_removed(
    bucket: Bucket, s3: S3Server, config: S3Config, tmp_path: Path
) -> None:
    others = [
        "folder/etcd-snapshot-server-1-two-1600000000",
        "folder/other",
        "etcd-snapshot-server-1-1600000000",
    ]
    for key in (
        "folder/etcd-snapshot-server-1-1600000000",
        "folder/etcd-snapshot-server-1-1600000000.zip",
        *others,
    ):
        s3.api.create_multipart_upload(Bucket=config.bucket, Key=key)
    bucket.upload(str(make_file(tmp_path)), snapshot(), "")
    assert sorted(s3.unfinished(config.bucket)) == sorted(others)


# Downloads.


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("cut download", "the connection was cut"),
        ("held download", "not done within"),
        ("slow", "not done within"),
    ],
)
def test_a_download_that_fails_leaves_the_file_as_it_was(
    config: S3Config, faulty_s3: FaultyS3, s3: S3Server, tmp_path: Path, fault: str, expected: str
) -> None:
    s3.api.put_object(Bucket=config.bucket, Key=f"folder/{NAME}", Body=os.urandom(200_000))
    target = make_file(tmp_path, size=10)
    before = target.read_bytes()
    failing = replace(config, endpoint=f"127.0.0.1:{faulty_s3.port}", timeout=5.0)
    with Bucket(failing) as bucket:
        faulty_s3.be(fault)
        began = time.monotonic()
        with pytest.raises(UserError, match=expected):
            bucket.download(NAME, str(target))
        assert time.monotonic() - began < 15
    assert target.read_bytes() == before
    assert os.listdir(target.parent) == [NAME]


def test_a_snapshot_larger_than_the_free_space_is_not_begun(
    bucket: Bucket, s3: S3Server, config: S3Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.api.put_object(Bucket=config.bucket, Key=f"folder/{NAME}", Body=os.urandom(3 << 20))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 << 20))
    with pytest.raises(UserError, match=r"it has 3 MiB, and .* has 2 MiB free"):
        bucket.download(NAME, str(tmp_path / NAME))
    assert os.listdir(tmp_path) == []


def test_a_snapshot_that_is_not_there_is_said_so(bucket: Bucket, config: S3Config, tmp_path: Path) -> None:
    with pytest.raises(UserError) as missing:
        bucket.download(NAME, str(tmp_path / NAME))
    assert str(missing.value).startswith(
        f"cannot download s3://{config.bucket}/folder/{NAME} at http://{config.endpoint}: it does not exist"
    )


def test_a_file_that_cannot_be_written_is_named(
    bucket: Bucket, s3: S3Server, config: S3Config, tmp_path: Path
) -> None:
    s3.api.put_object(Bucket=config.bucket, Key=f"folder/{NAME}", Body=b"x")
    (tmp_path / f"{NAME}.part").mkdir()
    with pytest.raises(UserError, match=rf"{NAME}\.part: Is a directory"):
        bucket.download(NAME, str(tmp_path / NAME))
    with pytest.raises(UserError, match="gone: No such file"):
        bucket.upload(str(tmp_path / "gone"), snapshot(), "")


# Servers that cannot be used.


def test_a_bucket_that_is_not_there_is_refused_in_rke2s_words(config: S3Config) -> None:
    missing = replace(config, bucket="missing")
    assert "bucket missing does not exist" in failure_of(missing)


def test_a_bucket_that_vanishes_is_said_so(bucket: Bucket, s3: S3Server, config: S3Config) -> None:
    s3.api.delete_bucket(Bucket=config.bucket)
    for call in (lambda: bucket.list(), lambda: bucket.delete(NAME)):
        with pytest.raises(UserError, match=f"bucket {config.bucket} does not exist"):
            call()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("403", "access denied (the keys need"),
        ("skewed", "this machine's clock differs from the server's by 20 minutes (set the clocks"),
        ("503", "the server is overloaded or failing (SlowDown) (try again later)"),
        ("no end", "not done within 2 s"),
    ],
)
def test_a_server_that_refuses_is_explained(
    config: S3Config, faulty_s3: FaultyS3, fault: str, expected: str
) -> None:
    faulty_s3.be(fault)
    timeout = 2.0 if fault == "no end" else 60.0
    assert expected in failure_of(replace(config, endpoint=f"127.0.0.1:{faulty_s3.port}", timeout=timeout))


def test_nobody_listens(config: S3Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "connection refused" in failure_of(replace(config, endpoint=f"127.0.0.1:{port}"))


def test_a_name_that_is_not_known(config: S3Config) -> None:
    assert "the host's name cannot be resolved" in failure_of(replace(config, endpoint="s3.invalid"))


@contextmanager
def answering(content: bytes) -> Iterator[int]:
    """A port where whoever asks gets this."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(content)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            "(is not that of an S3 server|overloaded or failing)",
        ),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", "does not exist"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the connection was cut"),
        (b"", "the connection was cut"),
    ],
)
def test_another_server_is_no_traceback(config: S3Config, content: bytes, expected: str) -> None:
    with answering(content) as port:
        assert re.search(expected, failure_of(replace(config, endpoint=f"127.0.0.1:{port}")))


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://user:SEEN-4@127.0.0.1:1"])
def test_a_proxy_that_cannot_be_reached(config: S3Config, proxy: str) -> None:
    failure = failure_of(replace(config, proxy=proxy))
    assert "cannot reach the proxy: connection refused" in failure
    assert "SEEN" not in failure


def test_the_proxy_is_used_and_none_is_none(
    config: S3Config, faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"http://127.0.0.1:{faulty_s3.port}"
    failure_of(replace(config, endpoint="s3.example:80", proxy=proxy))
    assert f"GET http://s3.example:80/{config.bucket}" in faulty_s3.requests()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert "cannot reach the proxy" in failure_of(config)
    with Bucket(replace(config, proxy="none")):
        pass


# Credentials.


def test_credentials_are_checked_with_their_session_token(
    s3: S3Server, config: S3Config, tmp_path: Path
) -> None:
    keys = s3.temporary_keys()
    access, secret, token = keys
    s3.check_keys(wanted=True)
    try:
        right = replace(config, access_key=access, secret_key=secret, session_token=token)
        with Bucket(right) as bucket:
            bucket.upload(str(make_file(tmp_path)), snapshot(), "")
            assert [one.name for one in bucket.list()] == [NAME]
        for wrong, expected in (
            (replace(right, session_token=""), "access key"),
            (replace(right, secret_key="wrong" * 8), "secret key"),
            (replace(right, access_key="AKIAWRONG0000000001"), "access key"),
        ):
            failure = failure_of(wrong)
            assert expected in failure
            assert not any(text in failure for text in (*keys, "wrongwrong", "AKIAWRONG"))
    finally:
        s3.check_keys(wanted=False)


def test_credentials_come_from_roots_file_when_none_are_given(
    config: S3Config, faulty_s3: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    without = replace(config, access_key="", secret_key="", endpoint=f"127.0.0.1:{faulty_s3.port}")
    assert "no credentials (set etcd-s3-access-key" in failure_of(without)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = FROMFILE\naws_secret_access_key = x\n"
    )
    with Bucket(without):
        _, _, headers = faulty_s3.handler.requests[-1]
        assert "Credential=FROMFILE/" in headers["Authorization"]


def test_credentials_are_in_no_message_and_no_log(
    config: S3Config, faulty_s3: FaultyS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = replace(
        config,
        endpoint=f"127.0.0.1:{faulty_s3.port}",
        access_key="SEEN-1",
        secret_key="SEEN-2",
        session_token="SEEN-3",
    )
    with Bucket(secret) as bucket:
        bucket.upload(str(make_file(tmp_path)), snapshot(), "")
        faulty_s3.be("403")
        with pytest.raises(UserError) as failed:
            bucket.list()
        told = [
            str(failed.value),
            repr(failed.value),
            repr(bucket),
            repr(failed.value.__cause__),
            caplog.text,
        ]
    assert failed.value.__suppress_context__
    assert "SEEN" not in "".join(told)
