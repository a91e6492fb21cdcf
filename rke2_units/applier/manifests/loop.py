"""The thread that keeps the cluster as server/manifests says: at every change, and again after failures."""

import ctypes
import os
import select
import threading
from collections.abc import Collection

from rke2_units.applier.manifests.reconcile import Reconciler
from rke2_units.coordination.events import Events
from rke2_units.doors import journal
from rke2_units.doors.inotify import FolderWatch
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Client, Discovery

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Seconds: what one command changes is looked at together.
_TOGETHER = 0.02
# Seconds from one look to the next where the kernel does not tell of changes; RKE2's pace.
_UNWATCHED = 15.0

_libc = ctypes.CDLL(None)


class Manifests:
    """The folder and the cluster. `run` is a thread's whole work; others may `stop` it, and ask."""

    def __init__(
        self,
        client: Client,
        discovery: Discovery,
        events: Events,
        held: threading.Event,
        *,
        folder: str,
        disable: Collection[str] = (),
    ) -> None:
        """`held`: while it is set this process may act; `disable`: config.yaml's key of this name."""
        self._client = client
        self._held = held
        self._folder = folder
        self._stop = threading.Event()
        self._reconciler = Reconciler(
            client, discovery, events, folder=folder, disable=disable, may_act=self._may_act
        )
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._kinds_came = threading.Event()
        self._definitions: threading.Thread | None = None
        self._unwatched = ""

    def stop(self) -> None:
        """Makes `run` return after what is under way."""
        self._stop.set()
        os.eventfd_write(self._wake, 1)

    def problems(self) -> list[str]:
        """What is wrong now, a line each."""
        return [*self._reconciler.problems(), *([self._unwatched] if self._unwatched else [])]

    def _may_act(self) -> bool:
        return self._held.is_set() and not self._stop.is_set()

    def run(self) -> None:
        watch = self._open_watch()
        try:
            while not self._stop.is_set():
                if not self._held.wait(1.0):
                    # Another server may act meanwhile: what is known may be wrong afterwards.
                    self._reconciler.begin_anew()
                    continue
                if self._kinds_came.is_set():
                    self._kinds_came.clear()
                    self._reconciler.kinds_came()
                pause = self._reconciler.look(watch.being_written if watch else frozenset())
                # What large files needed is given back to the machine.
                _libc.malloc_trim(0)
                if self._reconciler.awaits_kinds:
                    self._watch_definitions()
                self._wait(watch, pause)
                self._stop.wait(_TOGETHER)
                watch = self._take_in(watch)
                self._clear_wake()
        finally:
            if watch:
                watch.close()

    def _open_watch(self) -> FolderWatch | None:
        """None when the kernel has no inotify left: other programs of root share what there is of it."""
        try:
            watch = FolderWatch(self._folder)
        except OSError as error:
            problem = (
                f"{self._folder} is looked at every {_UNWATCHED:.0f} s, as it cannot be watched: "
                f"{error.strerror} (raise fs.inotify.max_user_instances and max_user_watches)"
            )
            if problem != self._unwatched:
                journal.log(Level.WARNING, problem)
            self._unwatched = problem
            return None
        self._unwatched = ""
        return watch

    def _wait(self, watch: FolderWatch | None, pause: float | None) -> None:
        """Until something changes, somebody wakes us, or `pause` seconds are over."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if watch:
            poll.register(watch.fileno(), select.POLLIN)
        else:
            pause = _UNWATCHED if pause is None else min(pause, _UNWATCHED)
        poll.poll(None if pause is None else pause * 1000)

    def _take_in(self, watch: FolderWatch | None) -> FolderWatch | None:
        """The watch to go on with, after what has happened so far."""
        if watch is None:
            return self._open_watch()
        try:
            watch.wait(0)
        except OSError:
            # A folder more than the kernel has room for.
            watch.close()
            return self._open_watch()
        return watch

    def _clear_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return

    def _watch_definitions(self) -> None:
        """Begins to watch for kinds that come; one thread for the rest of this process' life."""
        if self._definitions is None:
            self._definitions = threading.Thread(target=self._follow_definitions, daemon=True)
            self._definitions.start()

    def _follow_definitions(self) -> None:
        for event in self._client.watch(_DEFINITIONS, stop=self._stop):
            conditions = (event.object.get("status") or {}).get("conditions") or []
            if any(
                each.get("type") == "Established" and each.get("status") == "True" for each in conditions
            ):
                self._kinds_came.set()
                os.eventfd_write(self._wake, 1)
