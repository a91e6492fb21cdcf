"""Checks of node passwords, which take a hash each: a check is finished even if its caller does not wait.

If hundreds of nodes join at once, a check takes longer than an agent waits for an answer. The agent is then
asked to retry, and gets the result of the first check.
"""

import asyncio
from collections.abc import Callable, Coroutine

from rke2_units.join_api import slots
from rke2_units.join_api.refusal import Refusal

# Checks in progress, or with an error that was not fetched: more than a site has nodes.
_MOST = 512
_KEPT_SECONDS = 60.0
# The approximate duration of a check, and the longest pause that a node is asked for.
_CHECK_SECONDS = 0.2
_LONGEST_PAUSE = 30


class PasswordChecks:
    """The checks of all nodes, by node and password, in the order of the requests."""

    def __init__(self) -> None:
        self._checks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def end_of(
        self, name: str, password: str, check: Callable[[], Coroutine[object, object, None]]
    ) -> None:
        """Waits for the check of this node's password; starts it if there is none.

        Raises the errors of the check, and Refusal 429 if it does not end in time.
        """
        key = name, password
        task = self._checks.get(key)
        if task is None:
            if len(self._checks) >= _MOST:
                raise _later(_LONGEST_PAUSE)
            task = self._checks[key] = asyncio.create_task(check())
            task.add_done_callback(lambda ended: self._ended(key, ended))
        await asyncio.wait({task}, timeout=slots.WAIT_SECONDS)
        if not task.done():
            before = list(self._checks.values()).index(task)
            raise _later(1 + int(before * _CHECK_SECONDS))
        self._forget(key, task)
        task.result()

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            # Keep an error for the node that asked, until it retries.
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._forget, key, task)
        else:
            self._forget(key, task)

    def _forget(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._checks.get(key) is task:
            del self._checks[key]


def _later(seconds: int) -> Refusal:
    pause = str(min(max(2, seconds), _LONGEST_PAUSE))
    return Refusal(429, "too many nodes at once", headers={"Retry-After": pause})
