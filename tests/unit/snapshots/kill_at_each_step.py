"""`python -m tests.unit.snapshots.kill_at_each_step FOLDER yes|no`: kills runs of the schedule.

One is killed at its first step that changes a file, one at its second, and so on, each in a folder of its
own; then each is run again. `yes` or `no`: whether snapshots are compressed.

Prints one JSON object per step: what was there after the kill, and after the second run.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from rke2_units.snapshots import cluster, damage, records, request
from tests.unit.snapshots import snapshot_node
from tests.unit.snapshots.snapshot_node import SnapshotNode

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.chmod", "os.posix_spawn"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NOW = 1_700_000_000


def main(folder: Path, compress: bool) -> None:
    snapshot_node.install()
    cluster.extra_metadata = lambda client: {"who": "me"}
    step = 0
    killed = True
    while killed:
        step += 1
        node = _prepared(folder / str(step))
        killed = _run(node, _NOW, compress, step)
        after_kill = _state(node)
        assert not _run(node, _NOW + 60, compress, 0)
        print(json.dumps({"step": step, "killed": killed, "after_kill": after_kill, "after": _state(node)}))


def _prepared(folder: Path) -> SnapshotNode:
    """A node with three snapshots, of which one is too old."""
    folder.mkdir()
    node = SnapshotNode(folder)
    node.metadata.mkdir()
    for number in range(3):
        node.put(f"etcd-snapshot-{snapshot_node.NODE}-{number}")
        (node.metadata / f"etcd-snapshot-{snapshot_node.NODE}-{number}").write_text('{"n": "1"}')
    return node


def _run(node: SnapshotNode, now: int, compress: bool, step: int) -> bool:
    """Whether a run in a process of its own was killed at this step (0: never)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            time.time = lambda: float(now)
            operations = node.operations(compress=compress, retention="3")
            if step:
                _kill_at(step)
            code = 0 if operations.scheduled() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    assert ended in (0, -signal.SIGKILL), f"exit code {ended}"
    return ended != 0


def _kill_at(step: int) -> None:
    left = step

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        is_open = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
        if event in _CHANGES or is_open:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _state(node: SnapshotNode) -> dict[str, object]:
    found = node.operations()._local(_SAVE).folder.list()
    left = records.read(str(node.records))
    return {
        "files": node.files(),
        "listed": [snapshot.name for snapshot in found],
        "damaged": [one.name for one in found if damage.find(one.location.removeprefix("file://"))],
        "without_metadata": [snapshot.name for snapshot in found if not snapshot.metadata],
        "unfinished": left.unfinished,
        "saved": left.saved.name if left.saved else "",
    }


_SAVE = request.parse('{"operation": "save"}')


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "yes")
