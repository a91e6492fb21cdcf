"""Few at once of each network: the others of it wait their turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Remembers a network for as long as anybody of it is here."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # By network: its turns, and how many are here.
        self._here: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, network: str) -> AsyncIterator[asyncio.Semaphore]:
        """What this network's callers take their turns with (`async with`)."""
        semaphore, here = self._here.get(network) or (asyncio.Semaphore(self._at_once), 0)
        self._here[network] = semaphore, here + 1
        try:
            yield semaphore
        finally:
            semaphore, here = self._here.pop(network)
            if here > 1:
                self._here[network] = semaphore, here - 1
