"""Writes in small portions with pauses between them, so that live etcd's writes to the same disk go between.

A database that is restored would else be on its way to the disk all at once, and each commit of etcd behind
it. Weights and priorities are of no help: most disks are used without a scheduler that knows them.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Bytes that reach the disk at a time, and how many times as long as that took the pause after it is.
_PORTION = 2 << 20
_PAUSE = 8.0
_INTERVAL = 0.002


@contextmanager
def paced(*paths: str) -> Iterator[None]:
    """The programs that this thread runs meanwhile stand still while and after a portion of what they have
    written to one of these files is put on the disk. A file may appear later, or never."""
    pacer = _Pacer(threading.get_native_id(), paths)
    thread = threading.Thread(target=pacer.run, name="pacer")
    thread.start()
    try:
        yield
    finally:
        pacer.stop.set()
        thread.join()


class _Pacer:
    def __init__(self, runner: int, paths: tuple[str, ...]) -> None:
        self.stop = threading.Event()
        self._children = f"/proc/self/task/{runner}/children"
        self._written = dict.fromkeys(paths, 0)

    def run(self) -> None:
        while not self.stop.wait(_INTERVAL):
            for path, written in self._written.items():
                # It is renamed or removed in the end.
                with suppress(FileNotFoundError):
                    if os.stat(path).st_size - written >= _PORTION:
                        self._written[path] = self._put_on_disk(path)

    def _put_on_disk(self, path: str) -> int:
        """The size of what is on the disk then."""
        running = self._signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            self.stop.wait(_PAUSE * (time.monotonic() - began))
        finally:
            self._signal(signal.SIGCONT, running)
        return size

    def _signal(self, number: signal.Signals, pids: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Sends it to these processes, else to all of the thread's; returns them."""
        if not pids:
            with open(self._children, encoding="ascii") as file:
                pids = tuple(map(int, file.read().split()))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids
