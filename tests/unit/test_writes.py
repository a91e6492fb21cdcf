"""What the account of a writer proves."""

import json

import pytest

from tests.node.helpers.writes import Write, acknowledged, as_of, faults, longest_pause, parse


def write(action: str, outcome: str, name: str = "a-1", number: int | None = None, at: float = 0) -> Write:
    return Write(action, name, number, outcome, at, at)


CREATED = write("create", "acknowledged")
MAYBE_CREATED = write("create", "unknown")
DELETED = write("delete", "acknowledged")
MAYBE_DELETED = write("delete", "unknown")


@pytest.mark.parametrize(
    "writes, found, wrong",
    [
        ([CREATED], {"a-1"}, []),
        ([CREATED], set(), ["a-1 is lost"]),
        ([MAYBE_CREATED], {"a-1"}, []),
        ([MAYBE_CREATED], set(), []),
        ([CREATED, DELETED], set(), []),
        ([CREATED, DELETED], {"a-1"}, ["a-1 has come back from the dead"]),
        ([CREATED, MAYBE_DELETED], {"a-1"}, []),
        ([CREATED, MAYBE_DELETED], set(), []),
        ([CREATED, write("delete", "missing")], set(), ["a-1 was lost before it was deleted"]),
        ([], {"a-1"}, ["a-1 was never written"]),
        ([], {"b-1", "ab-1"}, []),
    ],
)
def test_what_is_there_in_the_end_agrees_with_what_was_acknowledged(
    writes: list[Write], found: set[str], wrong: list[str]
) -> None:
    assert faults(writes, "a", dict.fromkeys(found, 0)) == wrong


def counted(number: int, outcome: str = "acknowledged") -> Write:
    return write("count", outcome, number=number)


def read(number: int | None) -> Write:
    return write("read", "acknowledged", number=number)


@pytest.mark.parametrize(
    "writes, last, words",
    [
        ([counted(3)], 3, []),
        ([counted(3)], 2, ["was 3, and in the end it is 2"]),
        ([counted(3)], None, ["was 3, and in the end it is None"]),
        ([counted(3), counted(4, "unknown")], 3, []),
        ([counted(3), counted(4, "unknown")], 4, []),
        ([counted(3), counted(4, "unknown")], 5, ["5 in the end, which nobody has written"]),
        ([counted(3), read(2), counted(4)], 4, ["was 3, and at 0.0 it is 2"]),
        ([counted(3), read(None), counted(4)], 4, ["was 3, and at 0.0 it is None"]),
        ([read(None), read(-1), counted(0)], 0, []),
        ([], None, []),
    ],
)
def test_the_counter_never_goes_back(writes: list[Write], last: int | None, words: list[str]) -> None:
    wrong = faults(writes, "a", {} if last is None else {"a-count": last})
    assert len(wrong) == len(words)
    assert all(word in fault for word, fault in zip(words, wrong, strict=True))


def test_an_account_is_read_in_pairs_of_lines_and_without_what_was_cut_off() -> None:
    notes = [
        {"at": 1.0, "do": "create", "name": "a-1"},
        {"at": 1.5, "was": "acknowledged"},
        {"at": 2.0, "do": "read", "number": 7},
        {"at": 3.0, "do": "count", "number": 8},
        {"at": 7.0, "was": "unknown"},
        {"at": 8.0, "do": "delete", "name": "a-1"},
    ]
    account = "".join(json.dumps(note) + "\n" for note in notes) + '{"at": 9.0, "wa'
    writes = parse(account)
    assert writes == [
        Write("create", "a-1", None, "acknowledged", 1.0, 1.5),
        Write("read", "", 7, "acknowledged", 2.0, 2.0),
        Write("count", "", 8, "unknown", 3.0, 7.0),
        Write("delete", "a-1", None, "unknown", 8.0, 8.0),
    ]
    assert acknowledged(writes) == writes[:1]


@pytest.mark.parametrize(
    "times, longest",
    [([], 10), ([1, 2, 9], 7), ([5], 5), ([0.5, 30], 9.5)],
)
def test_the_longest_pause_is_that_between_two_acknowledged_writes(
    times: list[float], longest: float
) -> None:
    assert longest_pause([write("create", "acknowledged", at=at) for at in times], 0, 10) == longest


@pytest.mark.parametrize(
    "later, found, wrong",
    [
        # A snapshot is taken from 10 to 20. What was acknowledged before that is in it.
        (write("create", "acknowledged", "a-2", at=9), {"a-1", "a-2"}, []),
        (write("create", "acknowledged", "a-2", at=9), {"a-1"}, ["a-2 is lost"]),
        # What was written meanwhile may be in it, and what was written after it is not.
        (write("create", "acknowledged", "a-2", at=15), {"a-1", "a-2"}, []),
        (write("create", "acknowledged", "a-2", at=15), {"a-1"}, []),
        (write("create", "acknowledged", "a-2", at=21), {"a-1"}, []),
        (write("create", "acknowledged", "a-2", at=21), {"a-1", "a-2"}, ["a-2 was never written"]),
        (write("delete", "acknowledged", "a-1", at=9), {"a-1"}, ["a-1 has come back from the dead"]),
        (write("delete", "acknowledged", "a-1", at=15), {"a-1"}, []),
        (write("delete", "acknowledged", "a-1", at=15), set(), []),
        (write("delete", "acknowledged", "a-1", at=21), {"a-1"}, []),
        (write("delete", "acknowledged", "a-1", at=21), set(), ["a-1 is lost"]),
    ],
)
def test_a_restored_snapshot_has_what_was_acknowledged_before_it_and_nothing_from_after_it(
    later: Write, found: set[str], wrong: list[str]
) -> None:
    assert faults(as_of([CREATED, later], 10, 20), "a", dict.fromkeys(found, 0)) == wrong


@pytest.mark.parametrize(("last", "wrong"), [(1, True), (2, False), (3, False), (4, True)])
def test_a_restored_counter_is_between_the_last_before_the_snapshot_and_the_last_meanwhile(
    last: int, wrong: bool
) -> None:
    writes = [
        write("count", "acknowledged", number=number, at=at)
        for number, at in ((1, 5.0), (2, 9.0), (3, 15.0), (4, 21.0))
    ]
    assert bool(faults(as_of(writes, 10, 20), "a", {"a-count": last})) == wrong
