"""Which of several servers acts: a Lease that one holder renews."""

from __future__ import annotations

import threading

from rke2_units.doors.kubernetes import Client


class Lease:
    """The Lease kube-system/rke2-helm-applier, held under the name `identity` (node name and boot id).

    `held` is set for as long as this process may act; nothing is begun while it is not.
    """

    def __init__(self, client: Client, identity: str) -> None:
        """`client`: one of its own with a timeout of a few seconds, so that a slow answer costs no lease."""
        self.held = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Takes, renews and (when `stop` is set) gives up the lease; a thread's whole work."""
        raise NotImplementedError
