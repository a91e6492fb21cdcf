"""Which of the machine's processes belong to this node's Kubernetes."""

import os
from collections.abc import Collection, Mapping

from rke2_units.layout import CONTAINERD_STATE, Paths
from rke2_units.machine.processes import Process, ancestors, descendants
from rke2_units.node import pods
from rke2_units.unit_names import Role
from rke2_units.unit_table import ALL_UNITS, INSTANCE_TEMPLATES

_UNITS = frozenset((*ALL_UNITS, *(role.unit for role in Role)))
_TASKS = f"{CONTAINERD_STATE}/io.containerd.runtime.v2.task/k8s.io"


def container_ids(paths: Paths) -> set[str]:
    """The IDs of this node's running containers, after which their cgroups are named.

    These are all containers of rke2-containerd.service, or this node's pods in an existing containerd.
    """
    try:
        found = {name for name in os.listdir(_TASKS) if len(name) >= 32}
    except FileNotFoundError:
        found = set()
    settings = pods.foreign(paths)
    return found | {task.identifier for task in pods.containers(settings)} if settings else found


def ours(
    processes: Mapping[int, Process], content: str, containers: Collection[str], ourselves: int
) -> set[int]:
    """The processes that belong to this node's Kubernetes.

    These are: processes whose program is below `content` (the folder with RKE2's `<release>/bin`), processes
    in the cgroups of this node's units, all descendants of shims among them, and, by their cgroup,
    `containers` that have lost their shim or have one of an existing containerd. Never the process
    `ourselves` and its ancestors.
    """
    found = set()
    shims = set()
    for process in processes.values():
        program = process.executable
        of_content = (
            program.startswith(f"{content}/") and os.path.basename(os.path.dirname(program)) == "bin"
        )
        in_unit = _in_our_unit(process.cgroups)
        if of_content or in_unit or any(name in process.cgroups for name in containers):
            found.add(process.pid)
        # The machine's own shim (content: host) is known by the unit whose containerd started it.
        if (of_content or in_unit) and os.path.basename(program).startswith("containerd-shim"):
            shims.add(process.pid)
    return (found | descendants(processes, shims)) - ancestors(processes, ourselves)


def _in_our_unit(cgroups: str) -> bool:
    parts = (part for line in cgroups.splitlines() for part in line.split("/"))
    return any(part in _UNITS or _template_of(part) in INSTANCE_TEMPLATES for part in parts)


def _template_of(unit: str) -> str:
    """a@.service for a@1.service."""
    stem, _, instance = unit.partition("@")
    return f"{stem}@.{instance.rpartition('.')[2]}"


def read_ours(paths: Paths, processes: Mapping[int, Process]) -> set[int]:
    """Those of the processes that belong to this node's Kubernetes; see ours()."""
    return ours(processes, os.path.realpath(paths.content), container_ids(paths), os.getpid())
