"""How many may be at something at once: the others wait for a while."""

import asyncio

from rke2_units.join_api.refusal import Refusal

# Shorter than the 10 s for which nodes wait for an answer: who was told to come again does so at once, while
# the answer to a question whose caller has gone away is work for nobody.
WAIT_SECONDS = 4.0


class Slot:
    """One of so many at once; Refusal 429 when none becomes free in time."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._semaphore.acquire()
        except TimeoutError:
            raise Refusal(429, "too many requests at once", headers={"Retry-After": "2"}) from None

    async def __aexit__(self, *exception: object) -> None:
        self._semaphore.release()
