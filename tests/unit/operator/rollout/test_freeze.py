"""Windows in which no rollout starts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mlflow_model_operator.api.spec import Rollout
from mlflow_model_operator.rollout.freeze import frozen_until, windows


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


WEEKEND = {"cron": "0 18 * * FRI", "duration": "62h", "timeZone": "Europe/Berlin"}
NIGHT = {"cron": "0 22 * * *", "duration": "8h"}
ALWAYS = {"cron": "* * * * *", "duration": "1h"}


def until(now: str, *freeze: dict[str, str]) -> str | None:
    rollout = Rollout.model_validate({"freeze": list(freeze)})
    end = frozen_until(windows(rollout), at(now))
    if end is None:
        return None
    return datetime.fromtimestamp(end, UTC).isoformat(timespec="minutes")[:16]


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-27T16:59", None),
        ("2026-11-27T17:00", "2026-11-30T07:00"),
        ("2026-11-29T12:00", "2026-11-30T07:00"),
        ("2026-11-30T06:59", "2026-11-30T07:00"),
        ("2026-11-30T07:00", None),
    ],
)
def test_a_window_has_its_first_moment_and_not_its_last(now: str, end: str | None) -> None:
    assert until(now, WEEKEND) == end


def test_windows_that_follow_each_other_are_one() -> None:
    assert until("2026-11-30T05:00", WEEKEND, {**NIGHT, "cron": "0 6 * * *"}) == "2026-11-30T14:00"
    assert until("2026-11-25T23:00", WEEKEND, NIGHT) == "2026-11-26T06:00"


def test_windows_that_never_end_are_looked_at_again() -> None:
    end = until("2026-11-25T23:00", ALWAYS)
    assert end is not None and end > "2026-11-26T05:00"


def test_without_windows_nothing_is_frozen() -> None:
    assert until("2026-11-25T23:00") is None
