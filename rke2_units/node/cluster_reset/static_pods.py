"""Ends the control plane's containers of this node, which live on when its units are stopped.

containerd does not run then: their processes are ended, and containerd and the kubelet clean up when they
start. Containers of other pods are not touched.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from rke2_units import unit_names
from rke2_units.doors import files
from rke2_units.errors import UserError
from rke2_units.layout import Paths
from rke2_units.lean.containers import Containers
from rke2_units.lean.settings import Settings
from rke2_units.machine.processes import read_processes

# What uses etcd's data, or would serve what it read of it.
_ENDED = tuple(component for component in unit_names.STATIC_PODS if component != unit_names.KUBE_PROXY)
_GRACE = 15.0
_INTERVAL = 0.1


def end(paths: Paths, settings: Settings) -> Iterator[str]:
    """Removes the manifests and ends the processes; yields a line when there was something."""
    # The manifests first: a kubelet that somebody starts would make the pods anew.
    for component in _ENDED:
        files.remove(paths.manifest(component))
    containers = Containers(settings)
    components = {task.identifier: component for component in _ENDED for task in containers.tasks(component)}
    running = {components[identifier] for _, identifier in _processes(components)}
    if not running:
        return
    for of_etcd in (signal.SIGTERM, signal.SIGKILL):
        for pid, identifier in _processes(components):
            with suppress(ProcessLookupError):
                # Only etcd has something to complete; the API server would wait for it for 20 s.
                os.kill(pid, of_etcd if components[identifier] == unit_names.ETCD else signal.SIGKILL)
        if _are_gone(components, _GRACE):
            yield f"ended the pods {', '.join(sorted(running))}"
            return
    left = ", ".join(str(pid) for pid, _ in _processes(components))
    raise UserError(
        f"SIGKILL does not end these processes of the control plane: PID {left}",
        hint="they wait for a disk; see dmesg",
    )


def _processes(identifiers: Collection[str]) -> list[tuple[int, str]]:
    """The processes of these containers, each with its container: their cgroups are named after it."""
    if not identifiers:
        return []
    return [
        (process.pid, identifier)
        for process in read_processes().values()
        for identifier in identifiers
        if identifier in process.cgroups
    ]


def _are_gone(identifiers: Collection[str], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while _processes(identifiers):
        if time.monotonic() > end:
            return False
        time.sleep(_INTERVAL)
    return True
