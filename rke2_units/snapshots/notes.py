"""How the operations write the records.

A snapshot is worth more than they are: what cannot be written is a warning. All that a run has to note is
written once, at its end: the file shares etcd's disk.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.lean import console
from rke2_units.snapshots import records
from rke2_units.snapshots.outcome import Outcome
from rke2_units.snapshots.records import Failed, Records, Saved


class Notes:
    """The records in a file, and what is still to be written to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._metrics = f"{layout.REQUESTS}/{layout.SNAPSHOT_METRICS_NAME}"
        self._changes: list[Callable[[Records], Records]] = []

    def read(self) -> Records:
        return records.read(self._path)

    def change(self, change: Callable[[Records], Records]) -> None:
        """Notes something, for `write`."""
        self._changes.append(change)

    def write(self) -> None:
        """Writes what was noted, and the metrics that follow from it."""
        changes, self._changes = self._changes, []

        def change(found: Records) -> Records:
            return reduce(lambda so_far, each: each(so_far), changes, found)

        try:
            records.update(self._path, change, self._metrics)
        except UserError as error:
            console.say(str(error), console.WARNING)

    def begin(self, path: str) -> None:
        """The snapshot PATH will be made: what a killed process leaves of it can be found."""
        self.change(lambda found: replace(found, unfinished=path))
        self.write()

    def end(self) -> None:
        """Nothing is left of it, or it is complete."""
        self.change(lambda found: replace(found, unfinished=""))

    def observe(self, name: str, began: float, *, is_good: bool) -> None:
        """Something has lasted since `began`, of the monotonic clock."""
        seconds = time.monotonic() - began
        self.change(lambda found: found.observed(name, seconds, is_good=is_good))

    def scheduled(self, outcome: Outcome, began: float) -> None:
        """What became of a run of the schedule."""
        failed = Failed(datetime.now(UTC), "; ".join(outcome.errors)) if outcome.errors else None
        if outcome.saved is not None:
            one = outcome.saved
            saved = Saved(one.name, one.created, one.size, time.monotonic() - began)
            self.change(lambda found: replace(found, saved=saved, failed=failed))
        elif failed is not None:
            self.change(lambda found: replace(found, failed=failed))
        self.write()
