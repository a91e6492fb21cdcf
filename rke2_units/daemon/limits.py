"""How long a start waits for a unit, where neither systemd nor the unit's own program has a time limit."""

from collections.abc import Mapping, Sequence

from rke2_units.daemon.readiness import Failure, is_up
from rke2_units.model import UnitState
from rke2_units.unit_table import UNITS

# How long (s) a needed unit may be inactive without a job: containerd starts its kubelet again within
# seconds, and an administrator who stops a unit during a start may be about to start it again.
IDLE = 30.0
_SECONDS = {unit.name: unit.waits for unit in UNITS if isinstance(unit.waits, float)}


class Limits:
    """Since when the start has waited for each unit that has a limit."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def exceeded(self, states: Mapping[str, UnitState], units: Sequence[str], now: float) -> Failure | None:
        """The first of the `units` that is over its limit; `now` is a monotonic time in seconds."""
        for unit in units:
            state = states[unit]
            is_idle = state.active == "inactive" and not state.job
            limit = IDLE if is_idle else _SECONDS.get(unit)
            if is_up(state) or limit is None:
                self._since.pop(unit, None)
            elif now - self._since.setdefault(unit, now) > limit:
                problem = "nothing has started it" if is_idle else "it has not started"
                return Failure(unit, f"{problem} within {limit:.0f} s")
        return None
