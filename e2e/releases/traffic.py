"""The load of a release: through the gateway, and from inside the cluster to the Service."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dev.traffic import Load, under_load
from e2e.steps.given import DeployedModel
from e2e.steps.inside import Answers, steady_load_from_inside

GATEWAY_RATE = 16.0  # requests a second: new pods need the processors too
INSIDE_RATE = 8.0


@dataclass
class ReleaseLoad:
    """Both loads, and when the release began and was decided (by `time.monotonic`)."""

    gateway: Load = field(default_factory=Load)
    inside: Answers = field(default_factory=Answers)
    began: float = 0.0
    decided: float = 0.0

    def release_begins(self) -> None:
        """The alias moves."""
        self.began = time.monotonic()

    def is_decided(self) -> None:
        """The new version has taken over, or was rolled back, or that it can't is reported."""
        self.decided = self.decided or time.monotonic()

    @property
    def seconds(self) -> float:
        """From the move of the alias to the decision."""
        return self.decided - self.began

    @property
    def sent(self) -> int:
        """The requests of both."""
        return self.gateway.sent + sum(self.inside.counts.values()) + len(self.inside.failures)

    @property
    def failures(self) -> list[str]:
        """Of both, in words."""
        return [text for _, text in self.gateway.failures] + self.inside.failures

    def has_answer(self, answer: Any) -> bool:
        """Whether the gateway has passed on such an answer."""
        return self.gateway.counts()[answer] > 0


@contextmanager
def release_load(deployed: DeployedModel, per_second: float | None = None) -> Iterator[ReleaseLoad]:
    """Sends requests until the block ends."""
    rate = per_second or GATEWAY_RATE
    with (
        steady_load_from_inside(deployed, min(rate, INSIDE_RATE)) as inside,
        under_load(deployed.request, rate) as gateway,
    ):
        yield ReleaseLoad(gateway, inside)


def then_no_request_failed(load: ReleaseLoad, answers: Collection[str]) -> None:
    """All requests were answered, by these versions only."""
    assert load.failures == [], f"{len(load.failures)} of {load.sent} failed: {load.failures[:5]}"
    assert set(load.gateway.counts()) <= set(answers), load.gateway.counts()
    assert set(load.inside.counts) <= set(answers), load.inside.counts
    assert load.gateway.sent > 0 and load.inside.counts


def then_only_its_share_failed(load: ReleaseLoad, weight: int) -> None:
    """Requests failed through the gateway only, and no more than are the new version's share.

    The bound lets a fair split by: 4.5 standard deviations.
    """
    assert load.inside.failures == [], "the Service leads to the stable version only"
    times = sorted(at for at, _ in load.gateway.failures)
    assert times, "the version has failed no request"
    ends = [at for at, _ in (*load.gateway.answers, *load.gateway.failures)]
    number = sum(times[0] - 1 <= at <= times[-1] + 1 for at in ends)
    share = weight / 100
    bound = number * share + 4.5 * math.sqrt(number * share * (1 - share)) + 1
    assert len(times) <= bound, f"{len(times)} of {number} requests failed, with weight {weight}"
