"""How many courses of events are tried, and how long each is."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

PROFILE = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
