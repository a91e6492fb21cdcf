"""Checks of node passwords that wait for a hash: one that was begun ends, also when its caller did not wait.

Hundreds of nodes that come at once wait longer than an agent does for an answer. Each is told to come again,
and finds then what it waited for.
"""

import asyncio
from collections.abc import Callable, Coroutine

from rke2_units.join_api import slots
from rke2_units.join_api.refusal import Refusal

# Checks that are under way, or whose refusals nobody has fetched: more than a site has nodes.
_MOST = 512
_KEPT_SECONDS = 60.0
# What one takes, more or less, and the longest that anybody is told to stay away.
_CHECK_SECONDS = 0.2
_LONGEST_PAUSE = 30


class PasswordChecks:
    """Those of all nodes, by what is checked, in the order of their coming."""

    def __init__(self) -> None:
        self._checks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def end_of(
        self, name: str, password: str, check: Callable[[], Coroutine[object, object, None]]
    ) -> None:
        """Waits for the check of this node's password, a new one when there is none.

        Raises what it raises, and Refusal 429 when it does not end in time.
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
            # A no is for the one who asked, also when they come again for it.
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._forget, key, task)
        else:
            self._forget(key, task)

    def _forget(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._checks.get(key) is task:
            del self._checks[key]


def _later(seconds: int) -> Refusal:
    pause = str(min(max(2, seconds), _LONGEST_PAUSE))
    return Refusal(429, "too many nodes at once", headers={"Retry-After": pause})
