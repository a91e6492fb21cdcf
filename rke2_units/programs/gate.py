"""`gate --settings FILE COMPONENT`: waits until what the component needs is there.

ExecStartPre= of rke2-static-pod@COMPONENT.service. It returns within 0.2 s after that is healthy.
"""

import time

from rke2_units import unit_names
from rke2_units.errors import UserError
from rke2_units.lean import console, systemd
from rke2_units.lean.probe import Probe
from rke2_units.lean.settings import Settings

_INTERVAL = 0.1
# How often systemd is asked about the unit that is waited for.
_LOOK = 2.0
# A unit that is down may be about to be started: seconds to wait for that.
_PATIENCE = 20.0


def program(settings: Settings, arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise UserError("gate takes one component", hint="gate --settings FILE COMPONENT")
    pod = settings.static_pod(arguments[0])
    waiting = console.Waiting()
    for need in pod.needs:
        wait(settings, need, pod.component, waiting)


def wait(settings: Settings, need: str, component: str, waiting: console.Waiting) -> None:
    """Returns when what is needed is healthy; UserError when its unit is down and nobody starts it.

    It also waits for a unit that systemd keeps restarting: the node daemon reports what is wrong with that.
    """
    unit = unit_of(settings, need)
    looked = time.monotonic()
    down_since: float | None = None
    with Probe(settings.health_check(need)) as probe:
        while reason := probe.ask():
            waiting.report(need, reason)
            now = time.monotonic()
            if unit and now - looked >= _LOOK:
                looked = now
                state = systemd.unit_state(unit)
                down_since = (down_since or now) if state.is_over else None
                if down_since is not None and now - down_since >= _PATIENCE:
                    raise UserError(
                        f"{component} needs {need}, but {unit} is {state.active}",
                        hint=f"see `systemctl status {unit}`, or start it",
                    )
            time.sleep(_INTERVAL)


def unit_of(settings: Settings, need: str) -> str:
    """The unit that has to run for this need, "" when it is not a unit of this node."""
    if need == unit_names.component(unit_names.KUBELET_UNIT):
        return unit_names.KUBELET_UNIT
    return unit_names.static_pod_unit(need) if need in settings.static_pods else ""


if __name__ == "__main__":
    console.main(program, "gate --settings FILE COMPONENT")
