"""When a unit that failed beside a running node is started again."""

import time

# Seconds that a failed unit rests, by the number of its tries.
PAUSES = (15, 30, 60, 120, 300)


class Retries:
    """The failed units: why each failed, and when its next try is due, after pauses that grow."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._reasons: dict[str, str] = {}

    def knows(self, unit: str) -> bool:
        """Whether note() was called for this failure of the unit."""
        return unit in self._due

    def note(self, unit: str, cause: str) -> None:
        """The unit has failed because of `cause`."""
        tries = self._tries[unit] = self._tries.get(unit, 0) + 1
        pause = PAUSES[min(tries, len(PAUSES)) - 1]
        self._due[unit] = time.monotonic() + pause
        due = time.strftime("%H:%M:%S", time.localtime(time.time() + pause))
        self._reasons[unit] = f"{cause}; attempt {tries + 1} at {due}"

    def is_due(self, unit: str) -> bool:
        return time.monotonic() >= self._due[unit]

    def forget_failure(self, unit: str) -> None:
        """The unit is tried again, or somebody has started or stopped it."""
        self._due.pop(unit, None)
        self._reasons.pop(unit, None)

    def forget_tries(self, unit: str) -> None:
        """The unit runs: a failure after this is the first."""
        self._tries.pop(unit, None)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each failed unit failed, and when the next attempt is."""
        return self._reasons

    def seconds_to_next(self, at_most: float) -> float:
        return max(0.1, min([at_most, *(due - time.monotonic() for due in self._due.values())]))
