"""Keeps a process to a share of a CPU, however much there is to do."""

from __future__ import annotations

import time
from collections.abc import Callable

_MAX_CREDIT = 1.0  # seconds: what was not used before may be used at once


class CpuPace:
    """Says how long to wait for the share to be kept."""

    def __init__(
        self,
        share: float,
        used: Callable[[], float] = time.process_time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`share` is of one CPU; `used` are the seconds of it that have been used."""
        self._share = share
        self._used = used
        self._now = now
        self._used_before = used()
        self._since = now()

    def delay(self) -> float:
        """The seconds to wait now; 0: none."""
        now = self._now()
        earned_until = self._since + (self._used() - self._used_before) / self._share
        delay = earned_until - now
        if delay < -_MAX_CREDIT:
            self._used_before, self._since = self._used(), now - _MAX_CREDIT
        return max(0.0, delay)
