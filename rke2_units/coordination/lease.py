"""A Lease, which decides which of several servers works: its holder renews it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, Object, path_to

_COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Seconds. A server that sees a lease unchanged for DURATION takes it: within 15 s after its holder's death.
DURATION = 10
RENEWAL = 3.0
# A holder whose last renewal began this long ago stops working, before another may start.
DEADLINE = 8.0
# Time limit of a request.
TIMEOUT = 2.0
_MOMENT = 0.2


class _Held(threading.Event):
    """Set until a point in time (s, monotonic) that is moved with each renewal."""

    until = 0.0

    def is_set(self) -> bool:
        return super().is_set() and time.monotonic() < self.until

    def wait(self, timeout: float | None = None) -> bool:
        """Like Event.wait. Sleeps a moment after expiry, until the event is cleared: loops must not spin."""
        if super().wait(timeout) and not self.is_set():
            time.sleep(_MOMENT)
        return self.is_set()


class Lease:
    """The Lease `name` in kube-system, held under the name `identity`: "NODE_BOOT-ID".

    No work may be started while `held` is not set. It also expires by itself if renewals are not answered.
    """

    def __init__(self, client: Client, name: str, identity: str, *, work: str) -> None:
        """`client`: not shared, with a timeout of about TIMEOUT, lest a slow answer loses the lease.

        `work`: what the holder does, for the journal ("applies manifests and charts").
        """
        self.held = _Held()
        self._client = client
        self._name = name
        self._path = path_to(_COLLECTION, name)
        self._identity = identity
        self._work = work
        self._acting = False
        # The lease object after this process' last renewal.
        self._mine: Object | None = None
        # The lease's content at its last change, and when this process saw it: only its clock is used.
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Takes and renews the lease, and releases it when `stop` is set. To be run in a thread."""
        while not stop.is_set():
            began = time.monotonic()
            self.step()
            stop.wait(self._pause(began, time.monotonic()))
        if self._acting:
            self.held.clear()
            self._give_up()

    def _pause(self, began: float, now: float) -> float:
        """Seconds from `now` to the next attempt; `began`: when the last one did.

        Another server's lease is looked at when it may expire, not only at the time of a renewal: that could
        be 15 s after its holder's death.
        """
        expires = self._seen_at + DURATION
        due = began + RENEWAL if self._acting or expires <= now else min(began + RENEWAL, expires)
        return max(0.0, due - now)

    def step(self) -> None:
        """Takes, renews or loses the lease, with one attempt."""
        began = time.monotonic()
        try:
            if self._take_or_renew():
                # Count from the start of the request: other servers count from a later moment.
                self._act(began + DEADLINE)
            else:
                self._rest("another server holds it")
        except (ApiError, ApiUnavailable) as error:
            self._mine = None
            if time.monotonic() >= self.held.until:
                self._rest(error.message)

    def _act(self, until: float) -> None:
        self.held.until = until
        if not self._acting:
            self._acting = True
            self.held.set()
            journal.log(Level.INFO, f"this server {self._work}: it holds the lease {self._name}")

    def _rest(self, reason: str) -> None:
        if self._acting:
            self._acting = False
            self.held.clear()
            journal.log(
                Level.WARNING, f"this server has lost the lease {self._name} and stopped working: {reason}"
            )

    def _take_or_renew(self) -> bool:
        """False if another server holds it. Raises ApiError 409 if another was faster."""
        lease = self._mine
        if lease is None:
            try:
                lease = self._client.get(self._path)
            except ApiError as error:
                if error.status != 404:
                    raise
                self._mine = self._client.create(_COLLECTION, self._new())
                return True
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if holder and not self._is_own(holder) and now - self._seen_at < DURATION:
            return False
        change = {"leaseDurationSeconds": DURATION, "renewTime": _now()}
        if holder != self._identity:
            change["holderIdentity"] = self._identity
            change["acquireTime"] = change["renewTime"]
            change["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        self._mine = self._client.merge_patch(self._path, {"metadata": _version(lease), "spec": change})
        return True

    def _is_own(self, holder: str) -> bool:
        """True also for this node before its last boot: that process does not exist any more."""
        return holder.partition("_")[0] == self._identity.partition("_")[0]

    def _new(self) -> Object:
        now = _now()
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": "kube-system"},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _give_up(self) -> None:
        try:
            lease = self._mine or self._client.get(self._path)
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                free = {"holderIdentity": None, "renewTime": _now()}
                self._client.merge_patch(self._path, {"metadata": _version(lease), "spec": free})
        except (ApiError, ApiUnavailable):
            pass  # the lease expires instead


def identity(node_name: str) -> str:
    """The name of a holder of leases: the node's name and its boot ID."""
    with open(_BOOT_ID, encoding="ascii") as file:
        return f"{node_name}_{file.read().strip()}"


def _version(obj: Object) -> Object:
    return {"resourceVersion": obj["metadata"]["resourceVersion"]}


def _now() -> str:
    """MicroTime (RFC 3339 with microseconds), for people to read."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
