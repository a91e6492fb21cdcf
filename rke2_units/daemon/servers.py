"""The list of the cluster's servers, kept current in threads, for the daemon of a node that needs it."""

import json
import threading
from collections.abc import Callable

from rke2_units import cluster_names
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import UserError
from rke2_units.join import server_list
from rke2_units.lean import http
from rke2_units.lean.etcd import Etcd
from rke2_units.model import ServerList

# As doors.kubernetes_endpoints.API_SERVERS, but a list, which can be watched.
_ENDPOINTS = "/api/v1/namespaces/default/endpoints?fieldSelector=metadata.name%3Dkubernetes"
# Servers that start or stop together are one change.
_SETTLING = 1.0
# Seconds between questions to etcd, each of which is a process: until there is an answer, and afterwards.
_FIRST_INTERVAL, _INTERVAL = 2.0, 30.0

# Failures of the watch in a row, a minute of them, after which all servers are taken to be lost.
_LOST = 12
NONE = ServerList()

# Calls the first argument with each list that it finds, until the second is set.
Source = Callable[[Callable[[ServerList], None], threading.Event], None]


def of_api(url: str, identity: http.Identity, join_url: str = "", known: ServerList = NONE) -> Source:
    """Watches the API for its endpoints: the join APIs and API servers.

    When none of the `known` ones answers any more, they may all have been replaced: what the host in the
    join URL leads to is added then.
    """

    def follow(saw: Callable[[ServerList], None], stop: threading.Event) -> None:
        last = known

        def failed(times: int) -> None:
            if join_url and times >= _LOST:
                saw(server_list.united(last, server_list.looked_up(join_url)))

        for event in Client(url, identity).watch(_ENDPOINTS, stop=stop, failed=failed):
            if event.type in ("ADDED", "MODIFIED"):
                last = server_list.of_endpoints(event.object)
                saw(last)

    return follow


def members_of(etcd: Etcd) -> Callable[[], ServerList]:
    """Asks etcd for its voting members."""

    def ask() -> ServerList:
        voters = [member for member in etcd.members() if not member.is_learner]
        return server_list.of_members(url for member in voters for url in member.client_urls)

    return ask


def api_addresses_in(etcd: Etcd) -> Callable[[], ServerList]:
    """Reads from etcd the API servers that rke2-controllers has written there."""

    def ask() -> ServerList:
        found = etcd.get(cluster_names.API_ADDRESSES_KEY)
        try:
            return server_list.of_apiservers(json.loads(found.text) if found else [])
        except ValueError:
            raise UserError(f"{cluster_names.API_ADDRESSES_KEY} in etcd is not JSON") from None

    return ask


def asking(question: Callable[[], ServerList]) -> Source:
    """Asks etcd at intervals."""

    def follow(saw: Callable[[ServerList], None], stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                found = question()
            except UserError:
                # Problems of etcd are reported elsewhere.
                found = ServerList()
            saw(found)
            stop.wait(_FIRST_INTERVAL if found == ServerList() else _INTERVAL)

    return follow


class ServerWatch:
    """Watches the servers' addresses until `stop` is set; calls `changed` when they have changed.

    `known`: the list that the node has. An empty list is ignored, because some server must have sent it.
    """

    def __init__(self, source: Source, known: ServerList, changed: Callable[[], None]) -> None:
        self._source = source
        self._known = known
        self._changed = changed
        self._lock = threading.Lock()
        self._seen = known
        self._settles = False
        self.stop = threading.Event()
        threading.Thread(target=self._run, name="server list", daemon=True).start()

    def take(self) -> ServerList | None:
        """The new list, once; None if it has not changed."""
        with self._lock:
            if self._settles or self._seen == self._known:
                return None
            self._known = self._seen
            return self._known

    def saw(self, found: ServerList) -> None:
        """Note the present servers; they become the list when they do not change for a moment."""
        with self._lock:
            if found in (ServerList(), self._seen):
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
            self._source(self.saw, self.stop)
        except UserError as error:
            journal.log(Level.WARNING, f"the list of servers is no longer updated: {error}")
