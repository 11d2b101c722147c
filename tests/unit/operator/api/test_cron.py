"""Times by a calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api import cron
from mlflow_model_operator.api.cron import InvalidCron

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "now", "following"),
    [
        ("0 18 * * FRI", "2026-11-25T12:00", "2026-11-27T18:00"),
        ("0 18 * * 5", "2026-11-27T18:00", "2026-12-04T18:00"),
        ("30 8 1 * *", "2026-11-25T12:00", "2026-12-01T08:30"),
        ("0 0 13 * FRI", "2026-11-01T00:00", "2026-11-06T00:00"),  # a Friday, or a 13th
        ("0 0 13 * FRI", "2026-11-07T00:00", "2026-11-13T00:00"),
        ("*/15 9-17 * * MON-FRI", "2026-11-28T12:00", "2026-11-30T09:00"),
        ("5/20 * * * *", "2026-11-28T12:30", "2026-11-28T12:45"),
        ("0 0 * DEC sun", "2026-11-28T12:00", "2026-12-06T00:00"),
        ("0 0 * * 7", "2026-11-28T12:00", "2026-11-29T00:00"),
        ("0 0 29 2 *", "2026-11-28T12:00", "2028-02-29T00:00"),
        ("59 23 31 12 *", "2026-11-28T12:00", "2026-12-31T23:59"),
    ],
)
def test_the_next_time(text: str, now: str, following: str) -> None:
    assert cron.parse(text).next(at(now), UTC) == at(following)


def test_a_day_that_never_comes() -> None:
    assert cron.parse("0 0 31 6 *").next(at("2026-11-28T12:00"), UTC) is None


def test_the_time_is_that_of_the_zone_in_summer_and_in_winter() -> None:
    at_six = cron.parse("0 18 * * *")
    assert at_six.next(at("2026-07-01T12:00"), BERLIN) == at("2026-07-01T16:00")
    assert at_six.next(at("2026-12-01T12:00"), BERLIN) == at("2026-12-01T17:00")
    skipped = cron.parse("30 2 29 3 *")  # the clocks go from 2:00 to 3:00
    assert skipped.next(at("2026-03-28T12:00"), BERLIN) == at("2026-03-29T01:30")


def test_the_last_time() -> None:
    friday = cron.parse("0 18 * * FRI")
    now = at("2026-11-29T12:00")
    assert friday.last(now, UTC, earliest=now - 7 * 86_400) == at("2026-11-27T18:00")
    assert friday.last(now, UTC, earliest=now - 86_400) is None
    assert friday.last(at("2026-11-27T18:00"), UTC, earliest=0) == at("2026-11-27T18:00")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 0 fields instead of five"),
        ("0 18 * *", "has 4 fields instead of five"),
        ("60 * * * *", "'60' is not a number from 0 to 59"),
        ("* 24 * * *", "'24' is not a number from 0 to 23"),
        ("* * 0 * *", "'0' is not a number from 1 to 31"),
        ("* * * 13 *", "'13' is not a number from 1 to 12"),
        ("* * * * 8", "'8' is not a number from 0 to 7"),
        ("* * * * FRIDAY", "'FRIDAY' is not a number"),
        ("17-9 * * * *", "17-9 ends before it begins"),
        ("*/0 * * * *", "'0' is not a number from 1 to 59"),
        ("*/ * * * *", "'' is not a number"),
        ("1,, * * * *", "'' is not a number"),
        ("\N{ARABIC-INDIC DIGIT ONE} * * * *", "is not a number"),
    ],
)
def test_what_is_no_time_is_refused_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(InvalidCron, match="write minute, hour") as refused:
        cron.parse(text)
    assert says in str(refused.value)


FIELDS = st.tuples(
    *(
        st.sampled_from(["*", f"{low}", f"{low}-{high}", f"*/{max(high // 3, 1)}", f"{low},{high}"])
        for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    )
)
NOW = st.integers(0, 4 * 365 * 86_400).map(lambda seconds: at("2025-01-01T00:00") + seconds)


@given(FIELDS, NOW)
def test_the_last_time_before_the_next_is_not_after_now(
    fields: tuple[str, ...], now: float
) -> None:
    times = cron.parse(" ".join(fields))
    following = times.next(now, BERLIN)
    if following is None:
        return
    last = times.last(following - 1, BERLIN, earliest=now - 40 * 86_400)
    # When the clocks are set back, a time of the zone comes twice, and the first counts.
    assert last is None or last <= now or following - last <= timedelta(hours=1).total_seconds()
    assert times.last(following, BERLIN, earliest=now - 86_400) is not None
