"""Limits how many requests do something at the same time: the others wait for a while."""

import asyncio

from rke2_units.join_api.refusal import Refusal

# Shorter than the 10 s for which nodes wait for an answer: a node that is asked to retry does so, while work
# for a node that has closed its connection is wasted.
WAIT_SECONDS = 4.0


class Slot:
    """A place among those of the semaphore; Refusal 429 if none becomes free in time."""

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
