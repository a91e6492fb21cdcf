"""The containers of this node's pods, in our own containerd or in one that was there already."""

from rke2_units.errors import UserError
from rke2_units.layout import CONTAINERD_SOCKET, Paths
from rke2_units.lean import settings as program_settings
from rke2_units.lean.containers import Containers, Task
from rke2_units.lean.settings import Settings


def planned_settings(paths: Paths) -> Settings | None:
    """What the last plan says; None when there is none on disk."""
    try:
        return program_settings.read(paths.program_settings)
    except UserError:
        return None


def foreign(paths: Paths) -> Settings | None:
    """The settings of a node whose pods run in a containerd that is not ours; None for another node."""
    settings = planned_settings(paths)
    return settings if settings and settings.containerd_socket != CONTAINERD_SOCKET else None


def containers(settings: Settings) -> list[Task]:
    """The containers of pods. What somebody runs in the same namespace of containerd is none of them."""
    return [task for task in Containers(settings).all() if task.sandbox]
