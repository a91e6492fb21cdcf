"""containerd: `ctr` for what is done, and the bundles on disk for what runs.

A run of ctr costs 50 ms of processor time and several programs ask at once during a start. Whether a
container runs is therefore read where its shim reads it: containerd keeps a bundle (an OCI `config.json`)
for each task for as long as the task exists, with the CRI's annotations in it.
"""

import json
import os
import time
from collections.abc import Callable

from rke2_units import layout, unit_names
from rke2_units.errors import UserError
from rke2_units.lean import processes
from rke2_units.lean.settings import Settings

_ANNOTATION = "io.kubernetes.cri."
# What the kubelet gives a container between SIGTERM and SIGKILL when its pod says nothing else.
_GRACE = 30.0
_DELETION = 10.0
_INTERVAL = 0.1


class Task:
    """A running container of a pod; the one that holds the pod together is its `sandbox`."""

    def __init__(self, identifier: str, bundle: str, annotations: dict[str, object]) -> None:
        self.identifier = identifier
        self.bundle = bundle
        self.sandbox = str(annotations.get(f"{_ANNOTATION}sandbox-id", ""))
        self.is_sandbox = annotations.get(f"{_ANNOTATION}container-type") == "sandbox"
        self.container = str(annotations.get(f"{_ANNOTATION}container-name", ""))
        self.namespace = str(annotations.get(f"{_ANNOTATION}sandbox-namespace", ""))
        self.pod = str(annotations.get(f"{_ANNOTATION}sandbox-name", ""))
        # Only the sandbox has it: /var/log/pods/NAMESPACE_NAME_UID.
        self.uid = str(annotations.get(f"{_ANNOTATION}sandbox-log-directory", "")).rpartition("_")[2]

    @property
    def runs(self) -> bool:
        return os.path.exists(self.bundle)


class Containers:
    """The containers of this node's static pods."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A bundle's annotations never change.
        self._known: dict[str, Task] = {}

    def tasks(self, component: str) -> list[Task]:
        """The running containers of this component's pods, sandboxes first; each knows its pod's UID."""
        pod = f"{component}-{self._settings.node_name}"
        found = [task for task in self.all() if task.namespace == "kube-system" and task.pod == pod]
        uids = {task.identifier: task.uid for task in found if task.is_sandbox}
        for task in found:
            task.uid = uids.get(task.sandbox, "")
        return sorted(found, key=lambda task: not task.is_sandbox)

    def all(self) -> list[Task]:
        """Every running container in our namespace; one that is no pod's has no `sandbox`."""
        try:
            found = os.listdir(self._settings.bundles)
        except FileNotFoundError:
            found = []
        tasks = ((name, self._known.get(name) or self._read(name)) for name in found)
        self._known = {name: task for name, task in tasks if task is not None}
        return list(self._known.values())

    def _read(self, name: str) -> Task | None:
        bundle = os.path.join(self._settings.bundles, name)
        try:
            with open(f"{bundle}/config.json", encoding="utf-8") as file:
                specification = json.load(file)
            return Task(name, bundle, specification.get("annotations") or {})
        except (OSError, ValueError):
            # It is being made or removed at this moment.
            return None

    def stop(self, tasks: list[Task]) -> None:
        """Stops these containers as the kubelet would: SIGTERM, grace, SIGKILL, the sandboxes last.

        containerd's CRI plugin removes their tasks; the kubelet collects the remains.
        """
        containers = [task for task in tasks if not task.is_sandbox and task.runs]
        self._signal(containers, "SIGTERM")
        if not _gone(containers, _GRACE):
            self._signal(containers, "SIGKILL")
            _gone(containers, _DELETION)
        sandboxes = [task for task in tasks if task.is_sandbox and task.runs]
        self._signal(sandboxes, "SIGKILL")
        if not _gone(tasks, _DELETION):
            left = ", ".join(task.identifier[:13] for task in tasks if task.runs)
            raise UserError(f"containers of {tasks[0].pod} still run after SIGKILL: {left}")

    def kill(self, tasks: list[Task]) -> None:
        """Kills these containers with SIGKILL, but not their sandboxes; the kubelet starts them again."""
        containers = [task for task in tasks if not task.is_sandbox and task.runs]
        self._signal(containers, "SIGKILL")
        _gone(containers, _DELETION)

    def _signal(self, tasks: list[Task], signal: str) -> None:
        for task in tasks:
            finished = ctr(self._settings, "tasks", "kill", "--signal", signal, task.identifier, timeout=20)
            if finished.code != 0 and task.runs and "not found" not in finished.errors:
                raise UserError(
                    f"a container of {task.pod} cannot be stopped: {finished.last_words}",
                    hint=f"is {named(self._settings)} running?",
                )


def _gone(tasks: list[Task], seconds: float) -> bool:
    """Whether all of these tasks have ended, waited for so long at most."""
    end = time.monotonic() + seconds
    while any(task.runs for task in tasks):
        if time.monotonic() > end:
            return False
        time.sleep(_INTERVAL)
    return True


def named(settings: Settings) -> str:
    """containerd's name for an administrator: our unit, or the socket of another containerd."""
    if settings.containerd_socket == layout.CONTAINERD_SOCKET:
        return unit_names.CONTAINERD_UNIT
    return f"the containerd behind {settings.containerd_socket}"


def ctr(
    settings: Settings,
    *arguments: str,
    timeout: float,
    stdin: int | None = None,
    tick: Callable[[], None] | None = None,
) -> processes.Finished:
    """Runs ctr on the node's containerd and namespace."""
    command = [settings.ctr, "--address", settings.containerd_socket]
    of_content = settings.ctr.startswith(f"{settings.data_directory}/")
    return processes.run(
        [*command, "--namespace", settings.namespace, *arguments],
        timeout=timeout,
        stdin=stdin,
        tick=tick,
        hint="rke2-content.service installs it" if of_content else "apt install containerd",
    )
