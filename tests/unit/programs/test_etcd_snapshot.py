"""The program as its units run it; what talks to the cluster and to S3 is a stand-in."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rke2_units.snapshots import records
from tests.unit.snapshots.snapshot_node import NODE, SnapshotNode

ROOT = Path(__file__).parents[3]
_MAIN = (
    "import sys; from tests.unit.snapshots import snapshot_node; snapshot_node.install()\n"
    "from rke2_units.lean import console\n"
    "from rke2_units.programs import etcd_snapshot\n"
    "console.run(etcd_snapshot.program, 'usage')"
)


@pytest.fixture
def node(tmp_path: Path) -> SnapshotNode:
    found = SnapshotNode(tmp_path)
    found.settings()
    return found


def command(node: SnapshotNode, *words: str) -> list[str]:
    return [sys.executable, "-c", _MAIN, "--settings", str(node.file), *words]


def run(node: SnapshotNode, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(node, *words), cwd=ROOT, capture_output=True, text=True, timeout=60)


@contextmanager
def asked(node: SnapshotNode) -> Iterator[tuple[socket.socket, "subprocess.Popen[bytes]"]]:
    """A connection to the program, which has it as standard input and output."""
    ours, its = socket.socketpair()
    with ours:
        with its:
            child = subprocess.Popen(
                command(node, "request"),
                cwd=ROOT,
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.PIPE,
            )
        with child:
            yield ours, child


def answers(node: SnapshotNode, request: bytes) -> list[dict[str, Any]]:
    """The lines that come back."""
    with asked(node) as (ours, child):
        ours.sendall(request)
        ours.shutdown(socket.SHUT_WR)
        with ours.makefile() as lines:
            found = [json.loads(line) for line in lines]
        child.communicate()
        assert child.returncode == 0
    return found


def test_a_request_is_answered_by_lines_of_which_the_last_is_the_answer(node: SnapshotNode) -> None:
    *progress, answer = answers(node, b'{"operation": "save", "name": ["on-demand"]}')
    assert answer["status"] == 200
    [name] = answer["body"]["created"]
    assert name.startswith(f"on-demand-{NODE}-") and node.names() == [name]
    assert progress and all(list(line) == ["progress"] for line in progress)
    assert answers(node, b'{"operation": "list"}')[-1] == {
        "status": 200,
        "body": {"items": [f"local-{name}"]},
    }
    assert answers(node, json.dumps({"operation": "delete", "name": [name]}).encode())[-1]["body"] == {
        "deleted": [name]
    }


@pytest.mark.parametrize("request_", [b"", b"{", b'{"operation": "x"}', b'{"name": "' + b"x" * (1 << 20)])
def test_what_is_no_request_is_answered_too(node: SnapshotNode, request_: bytes) -> None:
    [answer] = answers(node, request_)
    assert answer["status"] == answer["body"]["code"] == 400
    assert answer["body"]["kind"] == "Status"


def test_the_work_is_done_for_someone_who_has_gone_away(node: SnapshotNode) -> None:
    with asked(node) as (ours, child):
        ours.sendall(b'{"operation": "save"}')
        ours.close()
        _, errors = child.communicate()
        assert child.returncode == 0
    assert len(node.names()) == 1
    assert errors.startswith(b"<") and b"Traceback" not in errors


def test_a_scheduled_run_that_failed_has_an_exit_code_and_one_line(node: SnapshotNode) -> None:
    done = run(node, "scheduled")
    assert done.returncode == 0
    (node.etcd / "full").touch()
    done = run(node, "scheduled")
    assert done.returncode == 1
    assert done.stderr.count("no space left") == 1
    assert done.stdout == ""


def test_reconcile_and_verify_are_words_too(node: SnapshotNode) -> None:
    assert run(node, "reconcile").returncode == 0
    done = run(node, "verify")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no snapshot on this node" in done.stderr
    node.put("a-1")
    done = run(node, "verify")
    assert done.returncode == 0 and "<6>Snapshot a-1 verified: fine" in done.stderr


@pytest.mark.parametrize("words", [[], ["save"], ["scheduled", "verify"]])
def test_other_words_are_refused(node: SnapshotNode, words: list[str]) -> None:
    done = run(node, *words)
    assert done.returncode == 1 and "takes one of" in done.stderr


def test_settings_that_are_missing_have_their_exit_code(node: SnapshotNode) -> None:
    node.file.unlink()
    assert run(node, "scheduled").returncode == 78


def test_a_run_that_is_stopped_cleans_up_and_is_no_failed_unit(node: SnapshotNode) -> None:
    os.mkfifo(node.etcd / "wait")
    os.mkfifo(node.etcd / "begun")
    with subprocess.Popen(
        command(node, "scheduled"), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        (node.etcd / "begun").read_text()
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate()
    assert child.returncode == 0
    assert "<4>stopped before the end" in errors and "Traceback" not in errors
    assert node.names() == []
    found = records.read(str(node.records))
    assert found.saved is None
    assert found.failed is not None and "stopped" in found.failed.message
