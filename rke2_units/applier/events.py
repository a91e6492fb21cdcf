"""core/v1 Events on the objects that the applier acts on, as `kubectl describe` shows them."""

from __future__ import annotations

from rke2_units.doors.kubernetes import Client, Object


class Events:
    """Records events; the same one again is a higher count of the first, as client-go has it."""

    def __init__(self, client: Client, host: str) -> None:
        """`host`: this node's name, which events carry as their source."""
        raise NotImplementedError

    def record(self, obj: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """`obj`: of whom it speaks (apiVersion, kind, metadata). A courtesy: nothing is raised."""
        raise NotImplementedError
