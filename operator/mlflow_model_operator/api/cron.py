"""Times by a calendar, as cron writes them: "0 18 * * FRI". Pure.

Minute, hour, day of the month, month, day of the week. Where both days are restricted, either is
enough, as in cron. A time that the clocks skip in spring is an hour later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache

CRON_HELP = (
    "write minute, hour, day of the month, month and day of the week, like '0 18 * * FRI' for "
    "Fridays at 18:00"
)
# 29 February may be eight years away.
MAX_DAYS = 3000

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


class InvalidCron(ValueError):
    """A text that is no time in cron's form; the message says what to write instead."""


@dataclass(frozen=True)
class Cron:
    """The minutes of a calendar that an expression stands for."""

    minutes: tuple[int, ...]  # ascending
    hours: tuple[int, ...]  # ascending
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either_day: bool  # both kinds of day are restricted

    def last(self, now: float, zone: tzinfo, earliest: float) -> float | None:
        """The last time that is not after `now`, if it is not before `earliest`. Epoch seconds."""
        day = datetime.fromtimestamp(now, zone).date()
        first = datetime.fromtimestamp(earliest, zone).date()
        while day >= first:
            times = (time for time in self._times(day, zone, reverse=True) if time <= now)
            if (time := next(times, None)) is not None:
                return time if time >= earliest else None
            day -= timedelta(days=1)
        return None

    def next(self, now: float, zone: tzinfo) -> float | None:
        """The first time after `now`, in epoch seconds; None where there is none, like 31 June."""
        day = datetime.fromtimestamp(now, zone).date()
        for _ in range(MAX_DAYS):
            times = (time for time in self._times(day, zone) if time > now)
            if (time := next(times, None)) is not None:
                return time
            day += timedelta(days=1)
        return None

    def _times(self, day: date, zone: tzinfo, reverse: bool = False) -> Iterator[float]:
        """The times on a day."""
        if not self._is_on(day):
            return
        step = -1 if reverse else 1
        for hour in self.hours[::step]:
            for minute in self.minutes[::step]:
                yield datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()

    def _is_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week


@lru_cache(maxsize=1024)
def parse(text: str) -> Cron:
    """Raises InvalidCron with a sentence that says what to write instead."""
    fields = text.split()
    if len(fields) != 5:
        raise InvalidCron(f"{text!r} has {len(fields)} fields instead of five: {CRON_HELP}")
    try:
        minutes, hours, days, months, weekdays = (
            _values(fields[0], 0, 59),
            _values(fields[1], 0, 23),
            _values(fields[2], 1, 31),
            _values(fields[3], 1, 12, _MONTHS, first_name=1),
            _values(fields[4], 0, 7, _WEEKDAYS),
        )
    except ValueError as error:
        raise InvalidCron(f"{text!r} is not a time: {error}; {CRON_HELP}") from None
    return Cron(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(value % 7 for value in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
    )


def _values(
    field: str, low: int, high: int, names: tuple[str, ...] = (), first_name: int = 0
) -> set[int]:
    """The values that one field stands for, like {0, 15, 30, 45} for */15."""
    values: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        start, end = _span(span, low, high, names, first_name, is_open=bool(slash))
        values |= {*range(start, end + 1, _number(step, 1, high) if slash else 1)}
    return values


def _span(
    text: str, low: int, high: int, names: tuple[str, ...], first_name: int, is_open: bool
) -> tuple[int, int]:
    """First and last value; one value with a step goes on to the end."""
    if text == "*":
        return low, high
    start, dash, end = text.partition("-")
    first = _value(start, low, high, names, first_name)
    if not dash:
        return first, high if is_open else first
    last = _value(end, low, high, names, first_name)
    if last < first:
        raise ValueError(f"{text} ends before it begins")
    return first, last


def _value(text: str, low: int, high: int, names: tuple[str, ...], first_name: int) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + first_name
    return _number(text, low, high)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and low <= int(text) <= high):
        raise ValueError(f"{text[:20]!r} is not a number from {low} to {high}")
    return int(text)
