"""Limits how many callers of a network work at the same time: the others wait their turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Remembers a network as long as it has callers."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # By network: its semaphore and its number of callers.
        self._here: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, network: str) -> AsyncIterator[asyncio.Semaphore]:
        """The semaphore of this network, to be used with `async with`."""
        semaphore, here = self._here.get(network) or (asyncio.Semaphore(self._at_once), 0)
        self._here[network] = semaphore, here + 1
        try:
            yield semaphore
        finally:
            semaphore, here = self._here.pop(network)
            if here > 1:
                self._here[network] = semaphore, here - 1
