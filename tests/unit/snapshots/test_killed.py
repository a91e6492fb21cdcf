"""Runs that are killed: nothing half made is ever listed, and the next run leaves nothing of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.snapshots.snapshot_node import NODE, Cluster, SnapshotNode

ROOT = Path(__file__).parents[3]


def name(seconds: int, ending: str) -> str:
    return f"etcd-snapshot-{NODE}-{seconds}{ending if seconds > 9 else ''}"


@pytest.fixture(scope="module", params=["no", "yes"])
def compress(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def steps(compress: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What became of a run that was killed at each of its steps; the last one was not."""
    folder = tmp_path_factory.mktemp("steps")
    command = [sys.executable, "-m", "tests.unit.snapshots.kill_at_each_step", str(folder), compress]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_run_was_killed_at_many_steps_and_not_at_its_end(
    steps: list[dict[str, Any]], compress: str
) -> None:
    assert [step["killed"] for step in steps] == [True] * (len(steps) - 1) + [False]
    assert len(steps) >= (22 if compress == "yes" else 20)


def test_whatever_is_listed_after_a_kill_is_whole(steps: list[dict[str, Any]], compress: str) -> None:
    ending = ".zip" if compress == "yes" else ""
    for step in steps:
        found = step["after_kill"]
        assert found["damaged"] == []
        # But for one that was about to be removed.
        assert set(found["without_metadata"]) <= {name(0, "")}
        assert set(found["listed"]) <= {name(n, ending) for n in (0, 1, 2, 1_700_000_000)}
        assert {name(1, ""), name(2, "")} <= set(found["listed"])


def test_the_next_run_leaves_nothing_of_the_killed_one(steps: list[dict[str, Any]], compress: str) -> None:
    ending = ".zip" if compress == "yes" else ""
    for step in steps:
        was_complete = name(1_700_000_000, ending) in step["after_kill"]["listed"]
        seconds = (2, 1_700_000_000, 1_700_000_060) if was_complete else (1, 2, 1_700_000_060)
        kept = [name(n, ending) for n in seconds]
        found = step["after"]
        assert found["files"] == sorted(
            f"{folder}/{one}" for one in kept for folder in (".metadata", "snapshots")
        )
        assert found["listed"] == kept
        assert (found["unfinished"], found["saved"]) == ("", kept[-1])


def test_a_kill_was_seen_before_and_after_the_snapshot_appeared(
    steps: list[dict[str, Any]], compress: str
) -> None:
    ending = ".zip" if compress == "yes" else ""
    appeared = [name(1_700_000_000, ending) in step["after_kill"]["listed"] for step in steps]
    assert appeared == sorted(appeared) and not appeared[0] and appeared[-1]
    half_made = [step for step in steps if any(".part" in file for file in step["after_kill"]["files"])]
    assert len(half_made) >= 3


_SCHEDULED = (
    "import sys; from tests.unit.snapshots import snapshot_node; snapshot_node.install()\n"
    "from pathlib import Path\n"
    "node = snapshot_node.SnapshotNode(Path(sys.argv[1]))\n"
    "node.operations(directory=sys.argv[2], is_own_directory=False).scheduled()"
)


def test_what_etcdctl_has_left_in_another_folder_is_removed(
    node: SnapshotNode, cluster: Cluster, tmp_path: Path
) -> None:
    other = tmp_path / "backup"
    other.mkdir()
    (other / f"etcd-snapshot-{NODE}-5.part").write_bytes(b"another's")
    os.mkfifo(node.etcd / "wait")
    os.mkfifo(node.etcd / "begun")
    command = [sys.executable, "-c", _SCHEDULED, str(node.folder), str(other)]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL) as child:
        (node.etcd / "begun").read_text()
        # As systemd does: all processes of the unit.
        os.killpg(child.pid, signal.SIGKILL)
    for fifo in ("wait", "begun"):
        (node.etcd / fifo).unlink()
    [left] = set(os.listdir(other)) - {f"etcd-snapshot-{NODE}-5.part"}
    assert left.endswith(".part.part")
    assert node.operations().scheduled()
    assert os.listdir(other) == [f"etcd-snapshot-{NODE}-5.part"]
    assert len(node.files()) == 1
