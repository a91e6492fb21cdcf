"""Requests to the apiserver about callers that only the apiserver can authenticate.

They have their own threads: strangers who keep all of these busy do not delay authenticated callers. For
each address few requests are made at once, the others wait their turn.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rke2_units.join_api.refusal import Refusal
from rke2_units.join_api.slots import Slot
from rke2_units.join_api.throttle import FailedLogins, network
from rke2_units.join_api.turns import Turns

_Result = TypeVar("_Result")

# Requests at once, and those for one address (IPv6: a /64).
_QUESTIONS, _OF_ONE = 4, 2


class Strangers:
    """Callers with a token that is not verified yet."""

    def __init__(self, failures: FailedLogins, held_back: Callable[[str], Refusal]) -> None:
        """`held_back` returns the Refusal for an address that failed too often."""
        self._failures = failures
        self._held_back = held_back
        self._threads = ThreadPoolExecutor(_QUESTIONS, "strangers")
        self._turns = Turns(_OF_ONE)

    async def ask(self, address: str, question: Callable[[str], _Result], token: str) -> _Result:
        """The result of a blocking request about a token from this address. Raises Refusal 429."""
        async with self._turns.of(network(address)) as turns, Slot(turns):
            # Other logins of this address may have failed while this one waited.
            with self._failures.trying(address) as may_try:
                if not may_try:
                    raise self._held_back(address)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, question, token)

    def close(self) -> None:
        """Tells all threads to end, and does not wait for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
