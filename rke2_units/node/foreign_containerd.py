"""Whether an existing containerd (container-runtime-endpoint) can serve this node."""

import os
import re
import socket

from rke2_units.errors import ConfigurationError
from rke2_units.layout import Paths
from rke2_units.lean.containers import ctr
from rke2_units.lean.processes import TookTooLongError
from rke2_units.lean.settings import Settings
from rke2_units.machine import processes
from rke2_units.node import pods

_KEY = "container-runtime-endpoint"
_PATIENCE = 5.0
# What gRPC says of a server without containerd's services, and of one that does not speak gRPC.
_NOT_CONTAINERD = re.compile(r"Unimplemented|unknown service|server preface|http2")
_OK = "ok"


def waiting_for(settings: Settings) -> str:
    """What is missing before it can serve this node, in one phrase; "" if nothing is.

    ConfigurationError for errors that only an administrator can correct. It asks for the list of plugins,
    which no other runtime has, and which shows whether Kubernetes can use this containerd.
    """
    path = settings.containerd_socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PATIENCE)
            probe.connect(path)
    except OSError as error:
        return f"the containerd behind {path} ({error.strerror or error})"
    try:
        finished = ctr(
            settings, "--connect-timeout", f"{_PATIENCE:.0f}s", "plugins", "ls", timeout=2 * _PATIENCE
        )
    except TookTooLongError as error:
        # The machine may be busy, and containerd just starting.
        return f"the containerd behind {path} ({error.message})"
    if finished.code != 0:
        if _NOT_CONTAINERD.search(finished.errors):
            raise ConfigurationError(
                f"{_KEY}: the service behind {path} is not containerd: {finished.last_words}",
                hint="other container runtimes (CRI-O, Docker) cannot be used",
            )
        return f"the containerd behind {path} ({finished.last_words})"
    if (state := cri_state(finished.output)) != _OK:
        raise ConfigurationError(
            f"{_KEY}: the containerd behind {path} does not serve Kubernetes: its CRI plugin is {state}",
            hint="see disabled_plugins in /etc/containerd/config.toml, and its log; then restart it",
        )
    if not os.path.isdir(os.path.dirname(settings.bundles)):
        raise ConfigurationError(
            f"{_KEY}: the containerd behind {path} has its state directory elsewhere",
            hint=f"set in its configuration: state = {os.path.dirname(path)!r}",
        )
    return ""


def refuse_to_leave(paths: Paths, containerd: str) -> None:
    """ConfigurationError if pods still run in another containerd than the one behind this socket.

    Nothing would stop them there, and they would keep the ports of the new pods. `paths`: those of the last
    plan.
    """
    settings = pods.planned_settings(paths)
    if settings is None or settings.containerd_socket == containerd:
        return
    running = processes.read_processes().values()
    for task in pods.containers(settings):
        # A dead containerd leaves containers on disk whose processes have ended.
        if any(task.identifier in process.cgroups for process in running):
            raise ConfigurationError(
                f"{_KEY} cannot change while pods run: {task.namespace}/{task.pod} is in the containerd "
                f"behind {settings.containerd_socket}",
                hint="run rke2-units killall, then start again",
            )


def cri_state(plugins: str) -> str:
    """The state of the CRI plugin in the output of `ctr plugins ls`: ok, skip, error, or disabled."""
    for line in plugins.splitlines():
        words = line.split()
        if words[:2] == ["io.containerd.grpc.v1", "cri"]:
            return words[-1]
    return "disabled"
