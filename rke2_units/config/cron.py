"""Cron expressions (robfig/cron v3's standard parser, which RKE2 has) as lines of a systemd timer.

Five fields with names, ranges, steps and lists; @daily and the like; @every DURATION; TZ=ZONE in front. As
in grammar, ValueError says in words that follow "must be" what an expression has to be.
"""

import re
from collections.abc import Collection, Iterator

from rke2_units.config import grammar

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_FORMS = (
    "a cron expression of five fields (minute, hour, day of month, month, day of week), @every DURATION, or "
    f"one of {', '.join(_DESCRIPTORS)}"
)
# Each field's name, first and last value, and the names of values, which are counted from the first.
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_ALL_DAYS, _ALL_MONTHS = range(1, 32), range(1, 13)
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# In systemd's order, by cron's numbers.
_WEEKDAYS = {1: "Mon", 2: "Tue", 3: "Wed", 4: "Thu", 5: "Fri", 6: "Sat", 0: "Sun"}
_ZONE = r"(?:CRON_)?TZ=(\S*)\s+(.*)"
_ZONES = "/usr/share/zoneinfo"
# In OnCalendar= they are the machine's own zone while it has this abbreviation.
_ABBREVIATIONS = frozenset(("CET", "EET", "EST", "HST", "MET", "MST", "WET"))
# What Go's zones are called in OnCalendar=.
_RENAMED = {"": "UTC", "GMT": "UTC", "Local": ""}
# Go's durations end at 292 years.
_LONGEST = 2.0**63 / 1e9


def check(text: str) -> None:
    """ValueError for what is no expression, or names a time zone that this machine does not know."""
    timer_lines(text)
    zone, _ = _split(text)
    if not _is_known(zone):
        raise ValueError(f"a cron expression with a time zone that is in {_ZONES}")


def timer_lines(text: str) -> tuple[str, ...]:
    """Lines of a timer unit's section [Timer] that start it at these times.

    One OnCalendar=, or two where either of two days is meant; for an interval OnActiveSec= and
    OnUnitActiveSec=.
    """
    zone, expression = _split(text)
    if expression.startswith(_EVERY):
        seconds = _interval(expression.removeprefix(_EVERY))
        return f"OnActiveSec={seconds}", f"OnUnitActiveSec={seconds}"
    words = _DESCRIPTORS.get(expression, expression).split()
    if len(words) != len(_FIELDS):
        raise ValueError(_FORMS)
    fields = [_Field(*field, word) for field, word in zip(_FIELDS, words, strict=True)]
    minutes, hours, *_ = (_compressed(field.values, field.every) for field in fields)
    time = f"{hours}:{minutes}:00" + (f" {zone}" if zone else "")
    return tuple(f"OnCalendar={day} {time}" for day in _days(*fields[2:]))


def _is_known(zone: str) -> bool:
    """Whether systemd knows it."""
    if zone in ("", "UTC"):
        return True
    try:
        with open(f"{_ZONES}/{zone}", "rb") as file:
            return file.read(4) == b"TZif"
    except OSError:
        return False


class _Field:
    """The values of one field. It restricts nothing when * or ? stands in it, but for steps (*/2)."""

    def __init__(self, name: str, first: int, last: int, names: tuple[str, ...], text: str) -> None:
        self._name = name
        self._names = names
        self.every = range(first, last + 1)
        self.values: set[int] = set()
        self.is_restricted = True
        # Go drops what is empty between commas.
        for part in filter(None, text.split(",")):
            self.values.update(self._range(part))
        if not self.values:
            raise self._wrong("a value")

    def _range(self, text: str) -> range:
        bounds, slash, step_text = text.partition("/")
        low, dash, high = bounds.partition("-")
        step = self._number(step_text) if slash else 1
        if bounds in ("*", "?"):
            start, end = self.every[0], self.every[-1]
            self.is_restricted &= step != 1
        else:
            start = self._value(low)
            # A value with a step: from there to the last one.
            end = self._value(high) if dash else self.every[-1] if slash else start
        if start > end:
            raise self._wrong("no range from a higher to a lower value")
        if step < 1:
            raise self._wrong("no step below 1")
        return range(start, end + 1, step)

    def _value(self, text: str) -> int:
        if text.lower() in self._names:
            return self.every[self._names.index(text.lower())]
        value = self._number(text)
        if value not in self.every:
            raise self._wrong(self._described())
        return value

    def _number(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
            raise self._wrong(f"{self._described()}, *, lists (,), ranges (-) and steps (/)")
        return int(text)

    def _described(self) -> str:
        names = f" or {self._names[0]} to {self._names[-1]}" if self._names else ""
        return f"numbers from {self.every[0]} to {self.every[-1]}{names}"

    def _wrong(self, expected: str) -> ValueError:
        return ValueError(f"a cron expression whose {self._name} has {expected}")


def _split(text: str) -> tuple[str, str]:
    """The time zone as OnCalendar= has it, "" for the machine's, and the rest of the expression."""
    text = text.strip()
    if not text.startswith(("TZ=", "CRON_TZ=")):
        return "", text
    match = re.fullmatch(_ZONE, text)
    if match is None:
        raise ValueError(_FORMS)
    zone = _RENAMED.get(match[1], match[1])
    if zone and not re.fullmatch(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", zone, re.ASCII):
        raise ValueError("a cron expression with a time zone such as TZ=Europe/Paris")
    if zone in _ABBREVIATIONS:
        raise ValueError(
            "a cron expression with a time zone such as TZ=Europe/Paris: systemd takes an abbreviation for "
            "the machine's own zone"
        )
    return zone, match[2]


def _interval(text: str) -> int:
    try:
        seconds = grammar.duration(text)
    except ValueError as error:
        raise ValueError(f"@every and {error}") from None
    if seconds >= _LONGEST:
        raise ValueError("@every and a duration of less than 292 years")
    # As Go's library has it: whole seconds.
    return max(1, int(seconds))


def _days(days: _Field, months: _Field, weekdays: _Field) -> Iterator[str]:
    """The dates of OnCalendar=. Where both kinds of day are restricted, either is enough."""
    month = _compressed(months.values, _ALL_MONTHS)
    is_either = days.is_restricted and weekdays.is_restricted
    exists = min(days.values) <= max(_LONGEST_MONTHS[number - 1] for number in months.values)
    if not exists and not is_either:
        raise ValueError("a cron expression with a day that one of its months has: it would never act")
    if exists and (days.is_restricted or not weekdays.is_restricted):
        yield f"*-{month}-{_compressed(days.values, _ALL_DAYS)}"
    if weekdays.is_restricted:
        yield f"{_compressed_weekdays(weekdays.values)}*-{month}-*"


def _compressed_weekdays(values: Collection[int]) -> str:
    if len(values) == len(_WEEKDAYS):
        return ""
    wanted = [name for number, name in _WEEKDAYS.items() if number in values]
    return _runs(wanted, list(_WEEKDAYS.values())) + " "


def _compressed(values: Collection[int], every: range) -> str:
    """The values as OnCalendar= lists them."""
    if len(values) == len(every):
        return "*"
    return _runs([f"{value:02}" for value in sorted(values)], [f"{value:02}" for value in every])


def _runs(names: list[str], every: list[str]) -> str:
    """The names, those that follow each other in `every` as FIRST..LAST."""
    runs: list[list[str]] = []
    for name in names:
        if runs and every.index(name) == every.index(runs[-1][-1]) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ",".join(run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)
