"""From the move of an alias to the first answer of the new version."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.releases.reaction.environment import environment
from benchmarks.releases.reaction.timeline import Timeline, observe
from dev.traffic import Load, under_load
from e2e.releases.released import GOOD, ReleasedModel
from e2e.steps import wait_for

WEBHOOK, POLL = "webhook", "poll"
PER_SECOND = 20.0
SEED = 1


@dataclass(frozen=True)
class Move:
    """One move of the alias; seconds are from there on."""

    version: int
    revision_created: float  # the Deployment
    pod_created: float
    pod_ready: float
    route_accepted: float  # with all requests for the new version
    first_answer: float

    @property
    def pod_start(self) -> float:
        """From the creation of the pod until it is ready."""
        return self.pod_ready - self.pod_created

    @property
    def reaction(self) -> float:
        """All but the start of the pod."""
        return self.first_answer - self.pod_start


@dataclass
class Result:
    """All that was measured. `moves` are by what the operator heard of them from."""

    machine: dict[str, Any]
    poll_interval: float
    per_second: float
    moves: dict[str, list[Move]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def measure(times: int, folder: Path) -> Result:
    """Moves the alias so often, at first without webhooks."""
    about = machine.describe()
    chance = random.Random(SEED)
    with environment(GOOD, folder) as given, observe(given.model.deployed.namespace) as timeline:
        result = Result(about, given.poll_interval, PER_SECOND)
        # A move may come at any time between two polls.
        pauses = [chance.uniform(0, given.poll_interval) for _ in range(times)]
        result.moves[POLL] = [_move(given.model, timeline, pause) for pause in pauses]
        given.start_webhooks()
        result.moves[WEBHOOK] = [_move(given.model, timeline, 0.0) for _ in range(times)]
    return result


def _move(model: ReleasedModel, timeline: Timeline, pause: float) -> Move:
    """Releases one more version, which has never been served."""
    version = model.register()
    answer = model.labels[version - 1]
    time.sleep(pause)
    with under_load(model.deployed.request, PER_SECOND) as load:
        wait_for(model.deployed, "the load has begun", lambda: load.sent > 0)
        began = time.monotonic()
        model.release(version)
        wait_for(model.deployed, "the new version answers", lambda: load.first(answer))
        model.then_is_promoted(version)
    assert load.failures == [], load.failures[:5]
    move = _read(version, answer, began, load, model, timeline)
    print(move, file=sys.stderr, flush=True)
    return move


def _read(
    version: int, answer: str, began: float, load: Load, model: ReleasedModel, timeline: Timeline
) -> Move:
    revision = model.deployed.status["stable"]["revision"]
    pod = timeline.pods[revision]
    routed = timeline.routed({revision: 100}, began, is_accepted=True)
    first = load.first(answer)
    assert pod.ready is not None and routed is not None and first is not None
    return Move(
        version,
        revision_created=timeline.revisions[revision] - began,
        pod_created=pod.created - began,
        pod_ready=pod.ready - began,
        route_accepted=routed - began,
        first_answer=first - began,
    )
