"""What a writer's account says about what must be there in the end: pure functions.

A write that was acknowledged holds. One without an answer may have happened or not, and its client never
tries it again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Write:
    """One request of a writer, and what came of it.

    action: create, delete, count, or read (which finds `number`, None for nothing).
    outcome: acknowledged, missing, conflict, or unknown.
    began, ended: seconds since the epoch; the same when no answer is in the account.
    """

    action: str
    name: str
    number: int | None
    outcome: str
    began: float
    ended: float


def parse(account: str) -> list[Write]:
    """The writes of an account; a last line that was cut off counts for nothing."""
    writes: list[Write] = []
    for line in account.splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            break
        at = float(note["at"])
        if "do" in note:
            action = str(note["do"])
            outcome = "acknowledged" if action == "read" else "unknown"
            writes.append(Write(action, note.get("name", ""), note.get("number"), outcome, at, at))
        else:
            tried = writes.pop()
            writes.append(Write(tried.action, tried.name, tried.number, str(note["was"]), tried.began, at))
    return writes


def as_of(writes: Iterable[Write], since: float, until: float) -> list[Write]:
    """The writes that a snapshot has which was taken within this time.

    What was answered before it is in it, what was begun after it is not, and the rest may be.
    """
    return [
        write if write.ended <= since or write.action == "read" else replace(write, outcome="unknown")
        for write in writes
        if write.began <= until
    ]


def acknowledged(writes: Iterable[Write]) -> list[Write]:
    """The changes that were acknowledged, in their order."""
    return [write for write in writes if write.outcome == "acknowledged" and write.action != "read"]


def faults(writes: Sequence[Write], run: str, found: Mapping[str, int]) -> list[str]:
    """What contradicts the account: lost, come back from the dead, or never written. Empty when all is well.

    `found` are the objects there are in the end, each with its number; those of other runs do not matter.
    """
    return [*_faults_of_objects(writes, run, found), *_faults_of_counter(writes, found.get(f"{run}-count"))]


def _faults_of_objects(writes: Sequence[Write], run: str, found: Mapping[str, int]) -> list[str]:
    wrong = []
    created = {write.name: write.outcome for write in writes if write.action == "create"}
    deleted = {write.name: write.outcome for write in writes if write.action == "delete"}
    for name, outcome in created.items():
        if outcome == "acknowledged" and name not in deleted and name not in found:
            wrong.append(f"{name} is lost")
    for name, outcome in deleted.items():
        if outcome == "acknowledged" and name in found:
            wrong.append(f"{name} has come back from the dead")
        if outcome == "missing":
            wrong.append(f"{name} was lost before it was deleted")
    own = {name for name in found if name.startswith(f"{run}-") and name != f"{run}-count"}
    return [*wrong, *(f"{name} was never written" for name in sorted(own - created.keys()))]


def _faults_of_counter(writes: Sequence[Write], last: int | None) -> list[str]:
    """The counter is at least what was acknowledged last, and at most what was tried."""
    wrong = []
    least: int | None = None
    most = -1

    def check(number: int | None, when: str) -> None:
        if least is not None and (number is None or number < least):
            wrong.append(f"the counter was {least}, and {when} it is {number}")
        elif number is not None and number > most:
            wrong.append(f"the counter is {number} {when}, which nobody has written")

    for write in writes:
        if write.action == "count":
            assert write.number is not None
            most = write.number
            if write.outcome == "acknowledged":
                least = write.number
        elif write.action == "read":
            check(write.number, f"at {write.began:.1f}")
    check(last, "in the end")
    return wrong


def longest_pause(writes: Iterable[Write], since: float, until: float) -> float:
    """The most seconds in this time in which nothing was acknowledged; all of it, when nothing was."""
    times = [write.ended for write in acknowledged(writes) if since <= write.ended <= until]
    moments = [since, *sorted(times), until]
    return max(later - earlier for earlier, later in zip(moments, moments[1:], strict=False))
