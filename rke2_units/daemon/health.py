"""Health checks of the components, in a thread of their own, so that they never block the daemon's loop."""

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError
from rke2_units.lean import http
from rke2_units.lean.probe import Probe
from rke2_units.lean.settings import HealthCheck

_REGISTRATION_INTERVAL = 0.1
# Idle CPU is budgeted: one TLS handshake per interval.
_HEALTH_INTERVAL = 15.0
# While a component does not answer, so that its recovery shows soon.
_TROUBLED_INTERVAL = 2.0
_TIMEOUT = 3.0


class Health:
    """Waits until the node is registered, then checks the components; calls `changed` on every change.

    `api`: the name of the check in `checks` that shows whether the API is ready. `node_url` and `identity`:
    URL and credentials for this node's Node object, which gets the `annotations`.
    """

    def __init__(
        self,
        checks: Mapping[str, HealthCheck],
        api: str,
        node_url: str,
        identity: http.Identity,
        changed: Callable[[], None],
        annotations: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._checks = checks
        self._api = api
        self._node_url = node_url
        self._identity = identity
        self._annotations = annotations
        self._changed = changed
        self._apiserver_is_up = threading.Event()
        self.registered = False
        # The result of the last check of the API.
        self.api_is_ready = False
        # The components that do not answer, with the local time since when.
        self.silent: dict[str, str] = {}
        threading.Thread(target=self._run, name="health", daemon=True).start()

    def ask_for_registration(self) -> None:
        """The apiserver is up: begin to ask it for the node."""
        self._apiserver_is_up.set()

    def _run(self) -> None:
        self._apiserver_is_up.wait()
        while not (self._apiserver_is_ready() and self._node_is_registered() and self._node_is_annotated()):
            time.sleep(_REGISTRATION_INTERVAL)
        self.registered = True
        self._changed()
        while True:
            time.sleep(_TROUBLED_INTERVAL if self.silent else _HEALTH_INTERVAL)
            self._ask_all()

    def _apiserver_is_ready(self) -> bool:
        # It serves objects some time before it says that it is ready.
        check = self._checks.get(self._api)
        self.api_is_ready = check is None or _passes(check)
        return self.api_is_ready

    def _node_is_registered(self) -> bool:
        try:
            return http.ask(self._node_url, self._identity)[0] == 200
        except OSError:
            return False

    def _node_is_annotated(self) -> bool:
        if not self._annotations:
            return True
        url, slash, path = self._node_url.partition("/api/")
        client = Client(url, self._identity, timeout=10)
        try:
            client.merge_patch(slash + path, {"metadata": {"annotations": dict(self._annotations)}})
        except UserError:
            return False
        finally:
            client.close()
        return True

    def _ask_all(self) -> None:
        before = set(self.silent)
        silent = {}
        for name, check in self._checks.items():
            if not _passes(check):
                silent[name] = self.silent.get(name) or time.strftime("%H:%M:%S")
        self.silent = silent
        if set(silent) != before:
            self._changed()


def _passes(check: HealthCheck) -> bool:
    with Probe(check, _TIMEOUT) as probe:
        return not probe.ask()
