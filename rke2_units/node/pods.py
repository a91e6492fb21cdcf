"""The containers of this node's pods, in rke2-containerd.service or in an existing containerd."""

from rke2_units.errors import UserError
from rke2_units.layout import CONTAINERD_SOCKET, Paths
from rke2_units.lean import settings as program_settings
from rke2_units.lean.containers import Containers, Task
from rke2_units.lean.settings import Settings


def planned_settings(paths: Paths) -> Settings | None:
    """The settings of the last plan; None if there is none on disk."""
    try:
        return program_settings.read(paths.program_settings)
    except UserError:
        return None


def foreign(paths: Paths) -> Settings | None:
    """The settings of a node whose pods run in an existing containerd; None for another node."""
    settings = planned_settings(paths)
    return settings if settings and settings.containerd_socket != CONTAINERD_SOCKET else None


def containers(settings: Settings) -> list[Task]:
    """The containers of pods, without other containers in the same namespace of containerd."""
    return [task for task in Containers(settings).all() if task.sandbox]
