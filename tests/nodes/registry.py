"""Which nodes there are on this machine: one record each, under /run, for any process to find them."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.nodes.cache import locked
from tests.nodes.errors import NodeError
from tests.nodes.processes import process_start

DIRECTORY = Path("/run/rke2-units-tests")
_NODES = DIRECTORY / "nodes"
LOCK = DIRECTORY / "lock"
_MOST_NODES = 200


@dataclass(frozen=True)
class Record:
    """A node.

    kind: nspawn or qemu.
    index: from 1, no two nodes share it; its address and its interface are made of it.
    directory: what belongs to it on disk.
    pid, started: the process that runs the machine (0 before it does), and its start in clock ticks, which
        tells it from a later process with the same PID.
    """

    name: str
    kind: str
    suite: str
    index: int
    directory: str
    pid: int = 0
    started: int = 0

    def is_running(self) -> bool:
        """Whether the process that runs the machine is still the one recorded."""
        return self.pid != 0 and process_start(self.pid) == self.started


def add(name: str, kind: str, suite: str, directory: Path) -> Record:
    """Record a new node; NodeError when the name is taken."""
    with locked(LOCK):
        records = everything()
        if any(record.name == name for record in records):
            raise NodeError(f"there is a node {name} already: python3 -m tests.nodes remove {name}")
        taken = {record.index for record in records}
        index = next(number for number in range(1, _MOST_NODES) if number not in taken)
        record = Record(name, kind, suite, index, str(directory))
        _write(record)
    return record


def set_process(record: Record, pid: int) -> None:
    """Record the process that runs the machine, or with 0 that none does."""
    started = process_start(pid) if pid else 0
    if started is None:
        raise NodeError(f"{record.name}: the machine ended at once")
    with locked(LOCK):
        if find(record.name) is None:
            raise NodeError(f"{record.name} has been removed")
        _write(replace(record, pid=pid, started=started))


def find(name: str) -> Record | None:
    """The record of a node."""
    try:
        return Record(**json.loads((_NODES / f"{name}.json").read_text()))
    except FileNotFoundError:
        return None


def everything() -> list[Record]:
    """All nodes, by name."""
    names = sorted(path.stem for path in _NODES.glob("*.json"))
    return [record for name in names if (record := find(name)) is not None]


def forget(name: str) -> None:
    """Drop the record of a node that has been removed."""
    with locked(LOCK):
        (_NODES / f"{name}.json").unlink(missing_ok=True)


def _write(record: Record) -> None:
    _NODES.mkdir(parents=True, exist_ok=True)
    unfinished = _NODES / f"{record.name}.new"
    unfinished.write_text(json.dumps(asdict(record)))
    os.replace(unfinished, _NODES / f"{record.name}.json")
