"""The daemon's one place to wait: signals, D-Bus, other threads, and the clock."""

import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING

from rke2_units.doors import journal

if TYPE_CHECKING:
    from rke2_units.doors.dbus import Systemd


class StopRequested(Exception):
    """SIGTERM or SIGINT has arrived."""


class Events:
    """Wakes the daemon when something happens, and keeps systemd's watchdog fed while it waits."""

    def __init__(self, systemd: "Systemd") -> None:
        self._systemd = systemd
        self._stop = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # systemd gives the limit in microseconds; sd_watchdog_enabled(3) advises half of it.
        self._watchdog = int(os.environ.get("WATCHDOG_USEC", 0)) / 2e6
        self._fed = 0.0
        # A thread waits for the signals, which are blocked everywhere else: one that arrived in the middle
        # of a call over D-Bus would make it fail with EINTR.
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        threading.Thread(target=self._await_stop, args=(signals,), name="signals", daemon=True).start()
        systemd.watch()

    def _await_stop(self, signals: set[signal.Signals]) -> None:
        while True:
            signal.sigwait(signals)
            self._stop = True
            self.wake()

    def wake(self) -> None:
        """From another thread: have wait() return."""
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            pass  # The pipe is full of earlier calls, which wake just as well.

    def feed_watchdog(self) -> None:
        now = time.monotonic()
        if self._watchdog and now - self._fed > self._watchdog / 2:
            journal.notify(WATCHDOG=1)
            self._fed = now

    def wait(self, timeout: float) -> None:
        """Return when something happened, or after `timeout` seconds. Raises StopRequested."""
        deadline = time.monotonic() + timeout
        while True:
            self.feed_watchdog()
            if self._stop:
                raise StopRequested
            # Signals that came with the answer to a call are already read from the socket.
            if self._systemd.drain():
                return
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            if self._watchdog:
                remaining = min(remaining, self._watchdog / 2)
            ready, _, _ = select.select([self._systemd.fileno(), self._wake_read], [], [], remaining)
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                if self._stop:
                    raise StopRequested
                return

    def rest(self, seconds: float) -> None:
        """Return after so many seconds, whatever happens. Raises StopRequested."""
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            self.wait(remaining)
