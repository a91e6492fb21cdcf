"""Questions to the components that must not hold up the daemon's loop: asked in a thread of their own."""

import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from rke2_units.doors import http
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError

_REGISTRATION_INTERVAL = 0.1
# Idle CPU is budgeted: one TLS handshake per interval.
_HEALTH_INTERVAL = 15.0
# As long as something does not answer: that it does again is to be seen soon.
_TROUBLED_INTERVAL = 2.0


# An address and what its answer must hold, as in the programs' settings.
Fact = Mapping[str, str | bool]


class Probes:
    """Asks whether the node is registered, then how the components are; `changed` is called on a change.

    `facts` are those of the programs' settings, `api` the one of them that the API is ready by; `node_url`
    and `identity` ask the apiserver for our Node, which gets the `annotations`.
    """

    def __init__(
        self,
        facts: Mapping[str, Fact],
        api: str,
        node_url: str,
        identity: http.Identity,
        changed: Callable[[], None],
        annotations: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._facts = facts
        self._api = api
        self._node_url = node_url
        self._identity = identity
        self._annotations = annotations
        self._changed = changed
        self._apiserver_is_up = threading.Event()
        self.registered = False
        # Whether the API was ready when it was asked last.
        self.api_is_ready = False
        # Facts that do not hold, with the local time since when.
        self.silent: dict[str, str] = {}
        threading.Thread(target=self._run, name="probes", daemon=True).start()

    def ask_for_registration(self) -> None:
        """The apiserver is up: from now on it makes sense to ask it for the node."""
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
        fact = self._facts.get(self._api)
        self.api_is_ready = fact is None or _holds(fact)
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
        for name, fact in self._facts.items():
            if not _holds(fact):
                silent[name] = self.silent.get(name) or time.strftime("%H:%M:%S")
        self.silent = silent
        if set(silent) != before:
            self._changed()


def _holds(fact: Fact) -> bool:
    try:
        status, body = http.ask(str(fact["url"]), _identity(fact))
    except OSError:
        return False
    return status == 200 and str(fact.get("contains", "")) in body


def _identity(fact: Fact) -> http.Identity:
    paths = {name: str(fact[name]) for name in ("authority", "certificate", "key") if name in fact}
    return http.Identity(**paths)
