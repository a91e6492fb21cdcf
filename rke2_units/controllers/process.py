"""The process of the controllers: its threads, the order of its work, and its STATUS=."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rke2_units import unit_names
from rke2_units.controllers import rbac
from rke2_units.controllers.api_addresses import ApiAddresses
from rke2_units.controllers.etcd_members import EtcdMembers
from rke2_units.controllers.hardening import Hardening
from rke2_units.controllers.nodes import Nodes
from rke2_units.controllers.own_node import Bootstrap, OwnNode
from rke2_units.controllers.passwords import NodePasswords
from rke2_units.controllers.settings import Settings
from rke2_units.controllers.snapshot_files import SnapshotFiles
from rke2_units.coordination import lease as leases
from rke2_units.coordination import process
from rke2_units.coordination.events import Events
from rke2_units.coordination.lease import Lease
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import ConfigurationError, UserError

# The lease's name, the source of events.
_NAME = unit_names.CONTROLLERS_UNIT.removesuffix(".service")
# Seconds between checks of etcd's members. Each request to etcd is a process, so they are rare when idle.
_IDLE = 10.0
_BUSY = 2.0
# Seconds that the work gets to finish at SIGTERM; systemd waits 15 s.
_PATIENCE = 5.0
# The work of the lease's holder only.
_HOLDERS = (
    "roles",
    "old node passwords",
    "node passwords",
    "network policies",
    "service accounts",
    "flannel's policy",
    "finalizers",
    "snapshots",
    "etcd",
    "addresses of API servers",
)


class Work:
    """All the work, step by step in one thread; a step that fails does not stop the others."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        known: Nodes,
        snapshots: SnapshotFiles,
        held: threading.Event,
    ) -> None:
        events = Events(client, _NAME, settings.node_name)
        self._settings = settings
        self._client = client
        self._nodes = known
        self._snapshots = snapshots
        self._held = held
        self._own = OwnNode(settings, client, known)
        self._bootstrap = Bootstrap(settings)
        self._members = EtcdMembers(settings.etcd, client, events, known, held)
        self._passwords = NodePasswords(client, known, held)
        self._addresses = ApiAddresses(settings.etcd, client)
        self._hardening = Hardening(client, known)
        # Whether the work that is done once after taking the lease is done.
        self._begun = False
        self._next_members = 0.0
        self._problems: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set. To be run in a thread."""
        while not stop.is_set():
            changed = self._nodes.changed.is_set()
            self._nodes.changed.clear()
            self.step(changed)
            self._nodes.changed.wait(_BUSY)

    def step(self, changed: bool = True) -> None:
        """Does the work that is due; `changed`: whether a node has changed."""
        if not self._nodes.synced.is_set():
            return
        self._do("labels", self._own.label)
        self._do("node password", self._own.keep_password)
        self._do("bootstrap data", self._bootstrap.ensure)
        if not self._held.is_set():
            self._begun = False
            self._addresses.forget()
            self._hardening.forget()
            self._snapshots.forget()
            for what in _HOLDERS:
                self._problems.pop(what, None)
            return
        if not self._begun:
            done = [
                self._do("roles", self._apply_roles),
                self._do("old node passwords", self._passwords.sweep),
            ]
            self._begun = all(done)
        self._do("node passwords", self._passwords.step)
        self._do("finalizers", self._hardening.release_nodes)
        if self._settings.is_hardened:
            self._do("network policies", self._hardening.make_policies)
            self._do("service accounts", self._hardening.restrict_accounts)
        if self._settings.lets_flannel_in:
            self._do("flannel's policy", self._hardening.let_hosts_in)
        self._do("snapshots", lambda: self._snapshots.step(changed))
        if changed or time.monotonic() >= self._next_members:
            self._do("etcd", self._see_to_members)
            self._do("addresses of API servers", self._addresses.step)

    def problems(self) -> list[str]:
        """The present problems, one line each."""
        return list(self._problems.values())

    def _apply_roles(self) -> None:
        rbac.apply(self._client, self._settings.rbac)

    def _see_to_members(self) -> None:
        self._next_members = time.monotonic() + _BUSY
        if not self._members.step():
            self._next_members = time.monotonic() + _IDLE

    def _do(self, what: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except UserError as error:
            text = f"{what}: {error}"
            if self._problems.get(what) != text:
                mends_itself = not isinstance(error, ConfigurationError)
                journal.log(Level.WARNING if mends_itself else Level.ERROR, text)
            self._problems[what] = text
            return False
        if self._problems.pop(what, ""):
            journal.log(Level.INFO, f"{what}: the problem is resolved")
        return True


def run(settings: Settings) -> int:
    """Works until SIGTERM; returns the exit code, a failure if a thread has died."""
    client = Client(settings.url, settings.identity)
    lease = Lease(
        Client(settings.url, settings.identity, timeout=leases.TIMEOUT),
        _NAME,
        leases.identity(settings.node_name),
        work="manages the cluster's members",
    )
    known = Nodes(client)
    snapshots = SnapshotFiles(client, known, lease.held, settings.node_name)
    work = Work(settings, client, known, snapshots, lease.held)

    def stop() -> None:
        client.close()
        known.changed.set()
        snapshots.wake()

    return process.run(
        {"nodes": known.follow, "snapshots": snapshots.follow, "work": work.run},
        lease,
        lambda: status(lease.held.is_set(), work.problems()),
        patience=_PATIENCE,
        on_stop=stop,
    )


def status(holds_lease: bool, problems: list[str]) -> str:
    """STATUS=, in one line."""
    if holds_lease:
        return process.summary(
            problems,
            "this server manages the cluster's members, roles and node passwords",
            unit_names.CONTROLLERS_UNIT,
        )
    waiting = "waiting for the lease: another server holds it, or kube-apiserver does not answer"
    return process.summary(problems, waiting, unit_names.CONTROLLERS_UNIT)
