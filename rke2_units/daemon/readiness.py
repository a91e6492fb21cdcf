"""What the states of the units mean: pure functions from systemd's states to texts and decisions."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rke2_units import unit_names
from rke2_units.model import UnitState
from rke2_units.unit_names import ETCD, STATIC_PODS
from rke2_units.unit_table import HOLDS_NOTHING_UP, STOPPING_ORDER

# Seconds to wait before the next attempt, by the number of attempts that failed in a row.
PAUSES = (0, 5, 10, 20, 40, 60)
# A process that systemd has restarted this often without it ever becoming active has failed to start.
RESTARTS_THAT_FAIL = 4


@dataclass(frozen=True)
class Failure:
    """A unit that does not start, and the reason where its log does not have it, else ""."""

    unit: str
    reason: str


def pause_before(failed_attempts: int) -> int:
    """Seconds to wait before an attempt, after so many failed ones in a row."""
    return PAUSES[min(failed_attempts, len(PAUSES) - 1)]


def is_up(state: UnitState) -> bool:
    """The unit is active, and no queued job is about to change that."""
    return state.active == "active" and not state.job


def needed(units: Sequence[str], *, without_api: bool) -> list[str]:
    """The units that a start waits for; `without_api`: without pods that need an API server elsewhere."""
    later = HOLDS_NOTHING_UP
    if without_api:
        later = later | {unit_names.static_pod_unit(pod) for pod in STATIC_PODS if pod != ETCD}
    return [unit for unit in units if unit not in later]


def waiting_for(states: Mapping[str, UnitState], units: Sequence[str]) -> str:
    """What the start is waiting for, in one phrase: the first unit, in starting order, that is not up."""
    for unit in units:
        state = states[unit]
        if is_up(state):
            continue
        name = unit_names.component(unit)
        if unit in HOLDS_NOTHING_UP:
            # A static pod that waits for the import of its image reports that itself.
            continue
        if not unit_names.static_pod_of(unit):
            return f"waiting for {name}" + (" to restart" if state.sub == "auto-restart" else "")
        phase = {
            "start-pre": "image and dependencies",
            "start": "manifest",
            "start-post": "starting, not ready yet",
        }.get(state.sub, "unit not started yet")
        return f"waiting for {name} ({phase})"
    return "waiting for the node to register"


def unwanted(states: Mapping[str, UnitState], planned: Sequence[str]) -> list[str]:
    """The units to stop because they still run but are no longer in the plan.

    Without static pods, which stop together with their pods.
    """
    return [
        unit
        for unit in STOPPING_ORDER
        if unit not in planned and not unit_names.static_pod_of(unit) and states[unit].active != "inactive"
    ]


def stopping(states: Mapping[str, UnitState]) -> str:
    """The name of a unit that is stopping, "" if there is none."""
    found = (
        unit_names.component(unit)
        for unit, s in states.items()
        if s.active == "deactivating" or s.job == "stop"
    )
    return next(found, "")


def failure(
    states: Mapping[str, UnitState], restarts: Mapping[str, int], units: Sequence[str]
) -> Failure | None:
    """The first unit, in starting order, whose state shows that this start cannot succeed."""
    for unit in units:
        state = states[unit]
        starting = state.load == "not-found" and state.job
        if state.load not in ("loaded", "unloaded") and not starting:
            return Failure(unit, f"systemd cannot load it ({state.load})")
        if unit in HOLDS_NOTHING_UP:
            continue
        # A unit with a job failed in an earlier attempt, and is about to be started.
        if state.active == "failed" and not state.job:
            return Failure(unit, "")
        if restarts.get(unit, 0) >= RESTARTS_THAT_FAIL and state.active != "active":
            return Failure(unit, f"it ended {restarts[unit]} times in a row")
    return None


def health(
    states: Mapping[str, UnitState],
    units: Sequence[str],
    stopped_by_hand: Set[str],
    silent: Mapping[str, str],
    failed: Mapping[str, str],
) -> str:
    """The STATUS= of a node that is up: "running", or "degraded: " and every problem.

    A unit that is starting is not a problem: an administrator has just started it. `silent`: the components
    (etcd, kube-apiserver, kubelet) that do not answer, with the time since when. `failed`: why units failed.
    """
    troubles, starting = [], []
    for unit in units:
        state = states[unit]
        name = unit_names.component(unit)
        if unit in stopped_by_hand:
            troubles.append(f"{name} was stopped by hand")
        elif state.active == "failed":
            troubles.append(f"{name} failed" + (f" ({failed[unit]})" if unit in failed else ""))
        elif state.active == "activating" and state.sub == "auto-restart":
            troubles.append(f"{name} ended and is restarted")
        elif state.active == "activating" or state.job in ("start", "restart"):
            starting.append(name)
        elif state.active == "deactivating":
            troubles.append(f"{name} is stopping")
        elif state.active == "inactive":
            troubles.append(f"{name} is not running")
        elif name in silent:
            troubles.append(f"{name} has not answered since {silent[name]}")
    if troubles:
        return "degraded: " + ", ".join(troubles)
    return f"running, still starting: {', '.join(starting)}" if starting else "running"
