"""Decides which etcd members to remove, and which learners have stalled. Pure."""

from collections.abc import Container, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rke2_units.lean.etcd import Member

# Seconds. A learner without progress for this long is removed, to make room for others (RKE2's value).
STALLED = 300.0
# Seconds. Observations that are further apart say nothing about the time between them.
WATCHED = 60.0


@dataclass(frozen=True)
class Removal:
    """A member to remove; `refused`: the reason why that is not possible now, "" if it is."""

    member: Member
    refused: str = ""


class Progress:
    """The progress of learners, as observed by this process."""

    def __init__(self) -> None:
        # By member: the highest index, and since when (s, monotonic) it has been that.
        self._seen: dict[int, tuple[int, float]] = {}
        # When (s, monotonic) the last observation was noted.
        self._noted = 0.0

    def note(self, learners: Sequence[tuple[Member, int]], now: float) -> set[int]:
        """Notes the index of each learner (-1: it does not answer); returns the ids of stalled ones."""
        # Nothing is noted without the lease or a quorum, and without a quorum no learner can progress.
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
    """The members to remove: stalled learners (ids), and `leaving` members (names).

    Voting members are removed one at a time, and only if the `healthy` ones (ids) among the remaining
    members are a majority of them.
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
        reason = "another member is removed first" if removed else _objection(voters, member, healthy)
        removed = removed or not reason
        found.append(Removal(member, reason))
    return found


def _objection(voters: Sequence[Member], member: Member, healthy: AbstractSet[int]) -> str:
    """Why this member cannot be removed, "" if it can."""
    left = [each for each in voters if each is not member]
    if not left:
        return "it is the only voting member"
    working = sum(each.identifier in healthy for each in left)
    majority = len(left) // 2 + 1
    if working < majority:
        return f"of {len(left)} remaining voting members {working} would be healthy, {majority} are required"
    return ""
