"""Cron expressions act at the same times as lines of a timer."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

import pytest
from croniter import CroniterBadDateError, croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.config import cron

RUNS = 20


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("0 */12 * * *", ["*-*-* 00,12:00:00"]),
        ("* * * * *", ["*-*-* *:*:00"]),
        ("5-9,30 0 1 JAN,mar *", ["*-01,03-01 00:05..09,30:00"]),
        ("0 0 * * sun", ["Sun *-*-* 00:00:00"]),
        ("0 0 * * Mon-fri,0", ["Mon..Fri,Sun *-*-* 00:00:00"]),
        ("00 07 * * 5/1", ["Fri..Sat *-*-* 07:00:00"]),
        # Either of two days.
        ("0 0 1 * 1", ["*-*-01 00:00:00", "Mon *-*-* 00:00:00"]),
        ("0 0 29/2 * 1", ["*-*-29,31 00:00:00", "Mon *-*-* 00:00:00"]),
        ("0 0 1-31 * 1", ["*-*-* 00:00:00", "Mon *-*-* 00:00:00"]),
        ("0 0 13 * 0-6", ["*-*-13 00:00:00", "*-*-* 00:00:00"]),
        # A star with a step restricts, another star anywhere in the field does not (robfig/cron 3).
        ("0 0 */16 * 1", ["*-*-01,17 00:00:00", "Mon *-*-* 00:00:00"]),
        ("0 0 */1 * 1", ["Mon *-*-* 00:00:00"]),
        ("0 0 5,* * 1", ["Mon *-*-* 00:00:00"]),
        ("0 0 ? * 1", ["Mon *-*-* 00:00:00"]),
        ("0 0 13 * ?", ["*-*-13 00:00:00"]),
        ("? ? ? ? ?", ["*-*-* *:*:00"]),
        # Of a day that never comes, the other one is left.
        ("0 0 30 2 1", ["Mon *-02-* 00:00:00"]),
        ("0 0 29 2 *", ["*-02-29 00:00:00"]),
        ("1,,2 0 * * *", ["*-*-* 00:01..02:00"]),
        ("@yearly", ["*-01-01 00:00:00"]),
        ("@annually", ["*-01-01 00:00:00"]),
        ("@monthly", ["*-*-01 00:00:00"]),
        ("@weekly", ["Sun *-*-* 00:00:00"]),
        ("@daily", ["*-*-* 00:00:00"]),
        ("@midnight", ["*-*-* 00:00:00"]),
        ("@hourly", ["*-*-* *:00:00"]),
        ("TZ=America/Sao_Paulo 30 4 * * *", ["*-*-* 04:30:00 America/Sao_Paulo"]),
        ("CRON_TZ=UTC  0 0 1 * 1", ["*-*-01 00:00:00 UTC", "Mon *-*-* 00:00:00 UTC"]),
        ("TZ=Local @daily", ["*-*-* 00:00:00"]),
        ("TZ= @daily", ["*-*-* 00:00:00 UTC"]),
        ("TZ=GMT @daily", ["*-*-* 00:00:00 UTC"]),
        ("TZ=Etc/GMT+3 @daily", ["*-*-* 00:00:00 Etc/GMT+3"]),
    ],
)
def test_an_expression_becomes_times_of_the_calendar(text: str, lines: list[str]) -> None:
    cron.check(text)
    assert cron.timer_lines(text) == tuple(f"OnCalendar={line}" for line in lines)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("@every 1h30m", 5400),
        ("@every 90s", 90),
        # Whole seconds, and at least one.
        ("@every 1.9s", 1),
        ("@every 10ms", 1),
        ("TZ=Europe/Paris @every 12h", 43200),
    ],
)
def test_an_interval_is_counted_from_the_last_run(text: str, seconds: int) -> None:
    cron.check(text)
    assert cron.timer_lines(text) == (f"OnActiveSec={seconds}", f"OnUnitActiveSec={seconds}")


@pytest.mark.parametrize(
    ("text", "must_be"),
    [
        ("", "a cron expression of five fields"),
        ("0 0 * *", "a cron expression of five fields"),
        ("0 0 0 * * *", "a cron expression of five fields"),
        ("@Daily", "a cron expression of five fields"),
        ("@reboot", "or one of @yearly, "),
        ("TZ=UTC", "a cron expression of five fields"),
        ("60 0 * * *", "whose minute has numbers from 0 to 59"),
        ("0 24 * * *", "whose hour has numbers from 0 to 23"),
        ("0 0 0 * *", "whose day of month has numbers from 1 to 31"),
        ("0 0 * 13 *", "whose month has numbers from 1 to 12 or jan to dec"),
        ("0 0 * * 7", "whose day of week has numbers from 0 to 6 or sun to sat"),
        ("0 0 * * monday", "whose day of week has numbers from 0 to 6"),
        ("0 0 L * *", "whose day of month has numbers from 1 to 31, *, lists"),
        ("-1 0 * * *", "whose minute has numbers from 0 to 59"),
        ("1- 0 * * *", "whose minute has numbers from 0 to 59"),
        ("1-2-3 0 * * *", "whose minute has numbers from 0 to 59"),
        ("1/2/3 0 * * *", "whose minute has numbers from 0 to 59"),
        ("*-5 0 * * *", "whose minute has numbers from 0 to 59"),
        ("*/x 0 * * *", "whose minute has numbers from 0 to 59"),
        ("٣ 0 * * *", "whose minute has numbers from 0 to 59"),
        (", 0 * * *", "whose minute has a value"),
        ("*/0 0 * * *", "whose minute has no step below 1"),
        ("0 5-1 * * *", "whose hour has no range from a higher"),
        ("0 0 * * sat-sun", "whose day of week has no range from a higher"),
        ("0 0 30 2 *", "with a day that one of its months has"),
        ("0 0 31 4,6,9,11 *", "with a day that one of its months has"),
        ("@every", "a cron expression of five fields"),
        ("@every 5", "@every and a duration such as"),
        ("@every -5m", "@every and a duration such as"),
        ("@every 2600000h", "a duration of less than 292 years"),
        ("TZ=Europe/Nowhere @daily", "with a time zone that is in /usr/share/zoneinfo"),
        # Files there that are no zones, and others.
        ("TZ=zone.tab @daily", "with a time zone such as"),
        ("TZ=../zoneinfo/UTC @daily", "with a time zone such as"),
        ("TZ=/etc/localtime @daily", "with a time zone such as"),
        ("TZ=Europe @daily", "with a time zone that is in"),
        ("TZ=CET 0 0 * * *", "systemd takes an abbreviation for the machine's own zone"),
    ],
)
def test_what_is_wrong_with_another_text_is_said(text: str, must_be: str) -> None:
    with pytest.raises(ValueError) as error:
        cron.check(text)
    assert must_be in str(error.value)
    # The text may be long, and stands in the message of the key.
    assert str(error.value).startswith(("a cron expression", "@every"))


def next_runs(lines: Sequence[str], base: datetime) -> list[list[datetime]]:
    """When systemd would act, for each line."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze on this machine (package systemd)")
    done = subprocess.run(
        [program, "calendar", f"--iterations={RUNS}", f"--base-time={base:%F %T}"]
        + [line.removeprefix("OnCalendar=") for line in lines],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    blocks = done.stdout.split("Normalized form:")[1:]
    assert len(blocks) == len(lines)
    when = re.compile(r"(?:Next elapse|Iter\. #\d+): \w+ ([\d-]+ [\d:]+) UTC")
    return [
        [datetime.fromisoformat(found).replace(tzinfo=UTC) for found in when.findall(block)]
        for block in blocks
    ]


WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def expression(random: Random) -> str:
    """One that both libraries understand in the same way.

    The other one has its own opinion of */1, of * in a list, of a range from a value to itself, and of days
    that are all named one by one.
    """

    def field(first: int, last: int, names: Sequence[str] = ()) -> str:
        def spelled(value: int) -> str:
            ways = [str(value), f"{value:02}"]
            if names:
                ways += [names[value - first], names[value - first].upper()]
            return random.choice(ways)

        def part() -> str:
            low, high = sorted(random.sample(range(first, last + 1), 2))
            step = f"/{random.randint(2, last - first)}"
            spread = f"{spelled(low)}-{spelled(high)}"
            return random.choice([spelled(low), spelled(low) + step, spread, spread + step, f"*{step}"])

        return ",".join(part() for _ in range(random.randint(1, 3))) if random.random() < 0.7 else "*"

    def day(number: int, first: int, last: int, names: Sequence[str] = ()) -> str:
        while True:
            text = field(first, last, names)
            if text == "*":
                return random.choice("*?")
            words = ["0", "0", "*", "*", "*"]
            words[number] = text
            if croniter.expand(" ".join(words))[0][number] != ["*"]:
                return text

    return " ".join(
        (field(0, 59), field(0, 23), day(2, 1, 31), field(1, 12, MONTHS), day(4, 0, 6, WEEKDAYS))
    )


BASES = (
    datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2027, 12, 31, 12, 30, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 0, 30, tzinfo=UTC),
)
# Together 2,000.
TOGETHER, TIMES = 100, 20


@settings(max_examples=TIMES, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(BASES))
def test_systemd_acts_when_cron_does(seed: int, base: datetime) -> None:
    random = Random(seed)
    expressions = [expression(random) for _ in range(TOGETHER)]
    timers: dict[str, tuple[str, ...]] = {}
    for text in expressions:
        try:
            timers[text] = cron.timer_lines(text)
        except ValueError as error:
            assert "it would never act" in str(error)
            with pytest.raises(CroniterBadDateError):
                croniter(text, base).get_next(datetime)
    lines = [line for timer in timers.values() for line in timer]
    found = iter(next_runs(lines, base) if lines else [])
    for text, timer in timers.items():
        acts = sorted({moment for _ in timer for moment in next(found)})[:RUNS]
        other = croniter(text, base)
        assert acts == [other.get_next(datetime) for _ in range(RUNS)], text
