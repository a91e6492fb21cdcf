"""The thread that applies server/manifests: at every change, and again after failures."""

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
# Seconds: changes of one command are applied together.
_TOGETHER = 0.02
# Seconds between passes if the folder cannot be watched; RKE2's interval.
_UNWATCHED = 15.0

_libc = ctypes.CDLL(None)


class Manifests:
    """Applies a folder to the cluster. `run` works in a thread; others may call `stop` and `problems`."""

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
        """`held`: set while this server holds the lease; `disable`: the key of this name in config.yaml."""
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
        """Makes `run` return after the object that it is applying."""
        self._stop.set()
        os.eventfd_write(self._wake, 1)

    def problems(self) -> list[str]:
        """The present problems, one line each."""
        return [*self._reconciler.problems(), *([self._unwatched] if self._unwatched else [])]

    def _may_act(self) -> bool:
        return self._held.is_set() and not self._stop.is_set()

    def run(self) -> None:
        watch = self._open_watch()
        try:
            while not self._stop.is_set():
                if not self._held.wait(1.0):
                    # Another server may work meanwhile, so what is known here may become wrong.
                    self._reconciler.begin_anew()
                    continue
                if self._kinds_came.is_set():
                    self._kinds_came.clear()
                    self._reconciler.kinds_came()
                pause = self._reconciler.look(watch.being_written if watch else frozenset())
                # Return the memory that large files needed to the system.
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
        """None if root's inotify limits are exhausted: all programs of root share them."""
        try:
            watch = FolderWatch(self._folder)
        except OSError as error:
            problem = (
                f"{self._folder} cannot be watched and is read every {_UNWATCHED:.0f} s instead: "
                f"{error.strerror} (raise fs.inotify.max_user_instances and max_user_watches)"
            )
            if problem != self._unwatched:
                journal.log(Level.WARNING, problem)
            self._unwatched = problem
            return None
        self._unwatched = ""
        return watch

    def _wait(self, watch: FolderWatch | None, pause: float | None) -> None:
        """Waits until something changes, another thread wakes this one, or `pause` seconds are over."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if watch:
            poll.register(watch.fileno(), select.POLLIN)
        else:
            pause = _UNWATCHED if pause is None else min(pause, _UNWATCHED)
        poll.poll(None if pause is None else pause * 1000)

    def _take_in(self, watch: FolderWatch | None) -> FolderWatch | None:
        """Reads the pending events; returns the watch to use from now on."""
        if watch is None:
            return self._open_watch()
        try:
            watch.wait(0)
        except OSError:
            # The limit of watched folders is reached.
            watch.close()
            return self._open_watch()
        return watch

    def _clear_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return

    def _watch_definitions(self) -> None:
        """Starts to watch for new kinds, in a thread that runs until the process ends."""
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
