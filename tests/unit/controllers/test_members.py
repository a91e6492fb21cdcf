"""Which of etcd's members go, and which stay."""

from hypothesis import given
from hypothesis import strategies as st

from rke2_units.controllers.members import STALLED, WATCHED, Progress, removals
from rke2_units.lean.etcd import Member


def member(number: int, *, learner: bool = False) -> Member:
    return Member(number, f"node{number}-0000000{number}", (f"https://192.0.2.{number}:2380",), (), learner)


def names(*numbers: int) -> set[str]:
    return {f"node{number}-0000000{number}" for number in numbers}


def test_nobody_goes_without_a_reason() -> None:
    members = [member(1), member(2), member(3, learner=True)]
    assert removals(members, leaving=set(), stalled=set(), healthy=set()) == []


def test_a_learner_that_has_stalled_or_whose_node_goes_makes_room() -> None:
    members = [member(1), member(2, learner=True), member(3, learner=True), member(4, learner=True)]
    found = removals(members, leaving=names(2), stalled={4}, healthy={1})
    assert [(each.member.identifier, each.refused) for each in found] == [(2, ""), (4, "")]


def test_a_lost_server_of_three_can_go_and_a_second_one_cannot() -> None:
    members = [member(1), member(2), member(3)]
    (found,) = removals(members, leaving=names(3), stalled=set(), healthy={1, 2})
    assert (found.member.identifier, found.refused) == (3, "")
    (found,) = removals(members, leaving=names(3), stalled=set(), healthy={1, 3})
    assert found.refused == "of 2 remaining voting members 1 would be healthy, 2 are required"


def test_voting_members_go_one_at_a_time() -> None:
    members = [member(number) for number in range(1, 6)]
    found = removals(members, leaving=names(4, 5), stalled=set(), healthy={1, 2, 3, 4, 5})
    assert [each.refused for each in found] == ["", "another member is removed first"]


def test_the_last_member_stays() -> None:
    (found,) = removals([member(1)], leaving=names(1), stalled=set(), healthy={1})
    assert found.refused == "it is the only voting member"


numbers = st.sets(st.integers(1, 9))


@given(st.sets(st.integers(1, 9), min_size=1), numbers, numbers, numbers, numbers)
def test_whoever_goes_a_majority_of_those_left_is_healthy(
    every: set[int], learners: set[int], leaving: set[int], stalled: set[int], healthy: set[int]
) -> None:
    members = [member(number, learner=number in learners) for number in sorted(every)]
    found = removals(members, leaving=names(*leaving), stalled=stalled, healthy=healthy)
    going = {each.member.identifier for each in found if not each.refused}
    assert going <= leaving | (stalled & learners)
    voters = every - learners
    if going & voters:
        left = voters - going
        assert len(going & voters) == 1
        assert len(left & healthy) > len(left) / 2


LEARNER = member(1, learner=True)


def watch(progress: Progress, index: int, start: float, end: float) -> set[int]:
    """Looks as seldom as counts, after `start` and up to `end`; who has stalled then."""
    moment = start + WATCHED
    while moment < end:
        progress.note([(LEARNER, index)], moment)
        moment += WATCHED
    return progress.note([(LEARNER, index)], end)


def test_a_learner_stalls_when_it_gets_no_further_for_five_minutes() -> None:
    progress = Progress()
    assert progress.note([(LEARNER, 5)], 0) == set()
    assert watch(progress, 5, 0, STALLED - 2) == set()
    assert progress.note([(LEARNER, 6)], STALLED - 1) == set()
    assert watch(progress, 6, STALLED - 1, 2 * STALLED - 2) == set()
    assert progress.note([(LEARNER, 6)], 2 * STALLED - 1) == {1}
    assert progress.note([(LEARNER, 7)], 2 * STALLED) == set()


def test_a_learner_that_never_starts_stalls_as_well() -> None:
    progress = Progress()
    assert progress.note([(LEARNER, -1)], 100) == set()
    assert watch(progress, -1, 100, 100 + STALLED) == {1}


def test_a_learner_that_answers_no_more_is_as_far_as_it_was() -> None:
    progress = Progress()
    progress.note([(LEARNER, 5)], 0)
    watch(progress, -1, 0, 200)
    assert watch(progress, 5, 200, STALLED) == {1}


def test_a_member_that_has_gone_begins_anew_when_it_returns() -> None:
    progress = Progress()
    progress.note([(LEARNER, 5)], 0)
    assert progress.note([], WATCHED) == set()
    assert watch(progress, 5, WATCHED, STALLED) == set()


def test_time_in_which_nobody_looked_is_no_standstill() -> None:
    progress = Progress()
    progress.note([(LEARNER, 5)], 0)
    assert watch(progress, 5, 0, STALLED - 1) == set()
    back = STALLED + WATCHED
    assert progress.note([(LEARNER, 5)], back) == set()
    assert watch(progress, 5, back, back + STALLED - 1) == set()
    assert progress.note([(LEARNER, 5)], back + STALLED) == {1}
