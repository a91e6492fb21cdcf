"""The containers of a node, as containerd and the kernel tell them."""

import json
from dataclasses import dataclass
from typing import Any

# Prints, for every container, its record and then its first process with that process's start time.
LIST_CONTAINERS = """\
for id in $(ctr containers ls --quiet); do
    ctr containers info "$id" 2>/dev/null || true
done
ctr tasks ls | while read -r id pid state; do
    [ -r "/proc/$pid/stat" ] || continue
    set -- $(sed 's/.*) //' "/proc/$pid/stat")
    echo "task $id $pid ${20}"
done
"""

# Prints `CONTAINER-ID PID` for every process whose cgroup is a container's.
LIST_CONTAINER_PROCESSES = """\
grep -EHo '[0-9a-f]{64}' /proc/[0-9]*/cgroup 2>/dev/null |
    sort -u | sed -E 's,/proc/([0-9]+)/cgroup:(.*),\\2 \\1,'
"""


@dataclass(frozen=True, order=True)
class Container:
    """A container in the k8s.io namespace of containerd.

    name: the container's name in its pod; "" for the pod's sandbox.
    pid: its first process, 0 when it does not run.
    started: when that process started, in clock ticks since the kernel started; two processes never share
        both pid and started.
    """

    namespace: str
    pod: str
    name: str
    pid: int
    started: int


def parse_containers(output: str) -> dict[str, Container]:
    """What LIST_CONTAINERS printed, by container ID."""
    records, tasks = _split(output)
    found = {}
    for record in records:
        labels = record["Labels"]
        pid, started = tasks.get(record["ID"], (0, 0))
        found[record["ID"]] = Container(
            namespace=labels.get("io.kubernetes.pod.namespace", ""),
            pod=labels.get("io.kubernetes.pod.name", ""),
            name=labels.get("io.kubernetes.container.name", ""),
            pid=pid,
            started=started,
        )
    return found


def parse_container_processes(output: str) -> dict[str, set[int]]:
    """What LIST_CONTAINER_PROCESSES printed: the PIDs of each container."""
    found: dict[str, set[int]] = {}
    for line in output.splitlines():
        container, pid = line.split()
        found.setdefault(container, set()).add(int(pid))
    return found


def _split(output: str) -> tuple[list[dict[str, Any]], dict[str, tuple[int, int]]]:
    decoder = json.JSONDecoder()
    records = []
    position = 0
    while output[position:].lstrip().startswith("{"):
        position += len(output[position:]) - len(output[position:].lstrip())
        record, position = decoder.raw_decode(output, position)
        records.append(record)
    tasks = {}
    for line in output[position:].splitlines():
        if line.startswith("task "):
            _, container, pid, started = line.split()
            tasks[container] = (int(pid), int(started))
    return records, tasks
