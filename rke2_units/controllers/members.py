"""Decisions about etcd's members, from values alone: which go, and how long a learner has stood still."""

from collections.abc import Container, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rke2_units.lean.etcd import Member

# Seconds. A learner that gets no further for so long makes room for others (RKE2's).
STALLED = 300.0
# Seconds. Looks that are further apart say nothing of the time between them.
WATCHED = 60.0


@dataclass(frozen=True)
class Removal:
    """A member that is to go, or (`refused`) that cannot go now, and why."""

    member: Member
    refused: str = ""


class Progress:
    """How far learners have come, as it was seen here."""

    def __init__(self) -> None:
        # By member: the highest index, and since when (s, monotonic) it has been that.
        self._seen: dict[int, tuple[int, float]] = {}
        # When (s, monotonic) somebody looked last.
        self._noted = 0.0

    def note(self, learners: Sequence[tuple[Member, int]], now: float) -> set[int]:
        """Takes in each learner with its index (-1: it does not answer); those that have stalled."""
        # Without the lease or a quorum nobody looks, and without a quorum no learner gets any further.
        before, self._seen = self._seen if now - self._noted <= WATCHED else {}, {}
        self._noted = now
        for member, index in learners:
            highest, since = before.get(member.identifier, (-2, now))
            if index > highest:
                highest, since = index, now
            self._seen[member.identifier] = (highest, since)
        return {member for member, (_, since) in self._seen.items() if now - since >= STALLED}


def removals(
    members: Sequence[Member],
    *,
    leaving: Container[str],
    stalled: Container[int],
    healthy: AbstractSet[int],
) -> list[Removal]:
    """The members that are to go: stalled learners, and `leaving` ones (names).

    Of voting members, one at a time, and only as long as the `healthy` ones (ids) that are left are a
    majority of all that are left.
    """
    found = [
        Removal(member)
        for member in members
        if member.is_learner and (member.identifier in stalled or member.name in leaving)
    ]
    voters = [member for member in members if not member.is_learner]
    removed = False
    for member in voters:
        if member.name not in leaving:
            continue
        reason = "another member goes first" if removed else _objection(voters, member, healthy)
        removed = removed or not reason
        found.append(Removal(member, reason))
    return found


def _objection(voters: Sequence[Member], member: Member, healthy: AbstractSet[int]) -> str:
    """Why this member cannot go, "" when it can."""
    left = [each for each in voters if each is not member]
    if not left:
        return "it is the only one that votes"
    working = sum(each.identifier in healthy for each in left)
    majority = len(left) // 2 + 1
    if working < majority:
        return f"of the {len(left)} that would be left, {working} are healthy and {majority} have to be"
    return ""
