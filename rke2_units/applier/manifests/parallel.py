"""Runs work in several threads, each with its own connection to the API."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

_THREADS = 4

_Item = TypeVar("_Item")


def each(items: Sequence[_Item], work: Callable[[_Item], None]) -> None:
    """Calls `work` for all items, started in their order. An exception stops this, and is raised."""
    waiting = iter(items)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        while not failures:
            with lock:
                try:
                    item = next(waiting)
                except StopIteration:
                    return
            try:
                work(item)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(min(_THREADS, len(items)) - 1)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
