"""Questions to the apiserver about callers of whom only it can say who they are.

They have threads of their own: while strangers keep all of these busy, callers that are known go on. Of one
address few are asked at once, the others wait their turn.
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

# Questions at once, and those of one address (IPv6: a /64).
_QUESTIONS, _OF_ONE = 4, 2


class Strangers:
    """Those who ask with a token that nobody has looked at yet."""

    def __init__(self, failures: FailedLogins, held_back: Callable[[str], Refusal]) -> None:
        """`held_back`: what an address is told that has failed too often."""
        self._failures = failures
        self._held_back = held_back
        self._threads = ThreadPoolExecutor(_QUESTIONS, "strangers")
        self._turns = Turns(_OF_ONE)

    async def ask(self, address: str, question: Callable[[str], _Result], token: str) -> _Result:
        """What a blocking question about a token of this address gives. Raises Refusal 429."""
        async with self._turns.of(network(address)) as turns, Slot(turns):
            # Others of this address may have failed while this one waited.
            with self._failures.trying(address) as may_try:
                if not may_try:
                    raise self._held_back(address)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, question, token)

    def close(self) -> None:
        """Begins to end all threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
