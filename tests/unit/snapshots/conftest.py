"""What tests of snapshots share: a node with stand-ins, S3, and what stands before that and fails."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rke2_units.snapshots import s3_client
from tests.unit.snapshots import s3_server
from tests.unit.snapshots.s3_server import FaultyS3, S3Server
from tests.unit.snapshots.snapshot_node import Bucket, Cluster, SnapshotNode, Verifier, stand_ins


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SnapshotNode]:
    node = SnapshotNode(tmp_path)
    with node.stack:
        yield node


@pytest.fixture
def bucket() -> type[Bucket]:
    """An S3 of this test's own."""
    return type("Bucket", (Bucket,), {"objects": {}, "opened": 0, "broken": {}})


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def cluster(bucket: type[Bucket], verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that is told of snapshots, and all else that others have to do with them."""
    cluster = Cluster()
    for name, module in stand_ins(cluster, bucket, verifier).items():
        monkeypatch.setitem(sys.modules, name, module)
    return cluster


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real server for all tests: each takes a bucket of its own."""
    with s3_server.running() as server:
        yield server


@pytest.fixture
def faulty_s3(s3: S3Server, tmp_path: Path) -> Iterator[FaultyS3]:
    """It stands before the server, and fails when it is told to."""
    with s3_server.faulty(s3, tmp_path) as server:
        yield server


@pytest.fixture
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between more attempts at S3 would take seconds."""
    monkeypatch.setattr(s3_client, "_ATTEMPTS", 2)
