"""Which servers there are, as an agent's daemon learns it: from the API itself, in threads of their own."""

import threading
from collections.abc import Callable

from rke2_units.doors import http, journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError
from rke2_units.join import server_list
from rke2_units.join.server_list import ServerList

# Every kube-apiserver keeps its address in these Endpoints.
_ENDPOINTS = "/api/v1/namespaces/default/endpoints?fieldSelector=metadata.name%3Dkubernetes"
# Servers that start or stop together are one change.
_SETTLING = 1.0


class ServerWatch:
    """Watches the servers' addresses from its making on, until `stop` is set; `changed` is called when they
    have changed.

    `known` is the list that the node has. What is empty is not believed: some server has said it.
    """

    def __init__(
        self, url: str, identity: http.Identity, known: ServerList, changed: Callable[[], None]
    ) -> None:
        self._url = url
        self._identity = identity
        self._known = known
        self._changed = changed
        self._lock = threading.Lock()
        self._seen = known
        self._settles = False
        self.stop = threading.Event()
        threading.Thread(target=self._run, name="server list", daemon=True).start()

    def take(self) -> ServerList | None:
        """The new list, once; None when nothing is new."""
        with self._lock:
            if self._settles or self._seen == self._known:
                return None
            self._known = self._seen
            return self._known

    def saw(self, found: ServerList) -> None:
        """These are the servers now; they become the list when nothing changes for a moment."""
        with self._lock:
            if not found.servers or found == self._seen:
                return
            self._seen = found
            if self._settles:
                return
            self._settles = True
        timer = threading.Timer(_SETTLING, self._settled)
        timer.daemon = True
        timer.start()

    def _settled(self) -> None:
        with self._lock:
            self._settles = False
        self._changed()

    def _run(self) -> None:
        try:
            client = Client(self._url, self._identity)
            for event in client.watch(_ENDPOINTS, stop=self.stop):
                if event.type in ("ADDED", "MODIFIED"):
                    self.saw(server_list.of_endpoints(event.object))
        except UserError as error:
            journal.log(Level.WARNING, f"the list of servers is not kept current: {error}")
