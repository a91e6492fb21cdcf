"""Decides what to do with a release, from helm's newest record of it and the wanted hash. Pure.

The steps are those of klipper-helm, the image of RKE2's Jobs.
"""

from __future__ import annotations

from enum import StrEnum

from rke2_units.applier.charts.records import Record


class Step(StrEnum):
    """One thing to do; the value is what people read."""

    # The newest record says that helm was interrupted; helm refuses to continue from there.
    SET_FAILED = "marking the interrupted release as failed"
    INSTALL = "installing"
    UPGRADE = "upgrading"
    UNINSTALL = "uninstalling"
    # The failure policy requires a person to repair the failed release.
    ABORT = "waiting for manual repair"


# The newest record is superseded only if helm ended before it wrote the next one.
_UPGRADE_FROM = {"pending-upgrade", "superseded"}
_INTERRUPTED = {"pending-install", "pending-upgrade", "pending-rollback", "superseded", "uninstalling"}
_FAILED = {
    "abort": (Step.ABORT,),
    "reinstall": (Step.UNINSTALL, Step.INSTALL),
    "retry": (Step.UPGRADE,),
}

# As for a Job: seconds after the first failure, doubled after each further one.
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 360.0


def steps(record: Record | None, wanted_hash: str, failure_policy: str) -> tuple[Step, ...]:
    """The steps to the wanted release, in order; none if it is deployed."""
    if record is None:
        return (Step.INSTALL,)
    if record.status == "deployed":
        return () if record.hash == wanted_hash else (Step.UPGRADE,)
    if record.status == "uninstalled":
        # After `helm uninstall --keep-history`, the name stays in use until the history is removed.
        return (Step.UNINSTALL, Step.INSTALL)
    repair = (Step.SET_FAILED,) if record.status in _INTERRUPTED else ()
    if record.status in _UPGRADE_FROM:
        return (*repair, Step.UPGRADE)
    return (*repair, *_FAILED[failure_policy])


def removal(record: Record | None) -> tuple[Step, ...]:
    """The steps that remove the release."""
    return () if record is None else (Step.UNINSTALL,)


def pause(failures: int) -> float:
    """Seconds until the next attempt, after so many failures in a row (1 or more)."""
    return float(min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE))
