"""The state of every chart: the file charts.json in the applier's folder, for `rke2-units status`.

A JSON list of objects, sorted by namespace and name, with the fields of State; times are in seconds since
1970.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass, replace

from rke2_units.doors import files, journal
from rke2_units.doors.journal import Level
from rke2_units.errors import UserError
from rke2_units.lean.chart_states import FILE_NAME, WAITING

Key = tuple[str, str]


@dataclass(frozen=True)
class State:
    """One HelmChart. `words`: helm's or ours about what is wrong. "" and 0: not known, or not so.

    `state` is one of chart_states, or the step of decision.Step that is under way.
    """

    namespace: str
    name: str
    release_namespace: str = ""
    source: str = ""
    wanted: str = ""  # the chart's version; "" for the newest
    deployed: str = ""
    revision: int = 0
    state: str = WAITING
    since: float = 0.0
    words: str = ""
    remarks: str = ""  # what this helm cannot do of what is asked for
    failures: int = 0


class States:
    """The states of all charts, and their file."""

    def __init__(self, work: str) -> None:
        self._path = f"{work}/{FILE_NAME}"
        self._lock = threading.Lock()
        self._states: dict[Key, State] = {}
        self._written = ""

    def get(self, key: Key) -> State:
        with self._lock:
            return self._states.get(key) or State(*key)

    def set(self, key: Key, **fields: str | float) -> None:
        """Changes these fields; a change of `state` sets `since` to now, unless `since` is given."""
        with self._lock:
            old = self._states.get(key) or State(*key)
            if fields.get("state", old.state) != old.state or not old.since:
                fields.setdefault("since", time.time())
            self._states[key] = replace(old, **fields)  # type: ignore[arg-type]
            self._write()

    def forget(self, key: Key) -> None:
        with self._lock:
            if self._states.pop(key, None):
                self._write()

    def clear(self) -> None:
        """Forgets all charts: another server may apply them from now on."""
        with self._lock:
            self._states.clear()
            self._write()

    def _write(self) -> None:
        text = json.dumps([asdict(self._states[key]) for key in sorted(self._states)], indent=1)
        if text == self._written:
            return
        try:
            files.write_atomic(self._path, text, 0o600)
            self._written = text
        except UserError as error:
            # A full disk must not keep helm from working.
            journal.log(Level.WARNING, str(error))
