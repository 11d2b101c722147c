"""Windows of the calendar in which no rollout starts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo
from zoneinfo import ZoneInfo

from mlflow_model_operator.api import cron, quantity
from mlflow_model_operator.api.cron import Cron
from mlflow_model_operator.api.spec import Rollout

# Windows that follow each other without a gap are looked at as far ahead as this.
MAX_SUCCESSIVE = 32


@dataclass(frozen=True)
class Window:
    """A time that comes again and again."""

    start: Cron
    duration: float  # seconds
    zone: tzinfo

    def end(self, now: float) -> float | None:
        """When the window that includes `now` ends, in epoch seconds; None outside of one."""
        start = self.start.last(now, self.zone, earliest=now - self.duration)
        if start is None or start + self.duration <= now:
            return None
        return start + self.duration


def windows(rollout: Rollout) -> list[Window]:
    """The windows that the spec states."""
    return [
        Window(cron.parse(entry.cron), quantity.seconds(entry.duration), ZoneInfo(entry.time_zone))
        for entry in rollout.freeze
    ]


def frozen_until(windows: Iterable[Window], now: float) -> float | None:
    """When a rollout may start again; None where it may start now.

    Where the windows never end, a time that is far enough away to look again.
    """
    windows, end = list(windows), None
    for _ in range(MAX_SUCCESSIVE):
        ends = [later for window in windows if (later := window.end(end or now)) is not None]
        if not ends:
            break
        end = max(ends)
    return end
