"""From the first bad answer of a canary until it gets no requests any more."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.releases.reaction.environment import environment
from benchmarks.releases.reaction.timeline import Timeline, observe
from dev.traffic import Load, under_load
from e2e.releases.released import GOOD, ReleasedModel
from e2e.steps import then_condition, wait_for
from mlflow_model_operator.analysis.counts import Counts
from mlflow_model_operator.analysis.judge import Window, judge, levels
from mlflow_model_operator.analysis.report import Reading
from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.spec import Analysis
from mlflow_model_operator.rollout.progress import Verdict

FAULTY = "impatient"  # the label of a model that fails where it is to wait
WAIT = 0.001  # seconds
WEIGHT = 50
INTERVAL = "10s"
ANALYSIS = {"interval": INTERVAL}
STEPS = [{"weight": WEIGHT, "hold": "1h"}]
PER_SECOND = 40.0
SEED = 1


@dataclass(frozen=True)
class Rollback:
    """One rollout that is rolled back; seconds are from the first bad answer."""

    version: int
    measurable: float  # as many bad answers as the test needs have been given
    requested: float  # the live route has the weights back
    accepted: float  # and the gateway has accepted them
    last_bad_answer: float
    bad_answers: dict[str, int]  # by their status

    @property
    def reaction(self) -> float:
        """From when there were enough bad answers until the gateway has accepted the weights."""
        return self.accepted - self.measurable


@dataclass
class Result:
    """All that was measured."""

    machine: dict[str, Any]
    per_second: float
    weight: int
    interval: float  # seconds
    rollbacks: list[Rollback] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def measure(times: int, folder: Path) -> Result:
    """Releases so many versions that are good at first."""
    result = Result(machine.describe(), PER_SECOND, WEIGHT, quantity.seconds(INTERVAL))
    chance = random.Random(SEED)
    labels = (GOOD[0], FAULTY)
    with environment(labels, folder) as given, observe(given.model.deployed.namespace) as timeline:
        given.model.given({"steps": STEPS, "analysis": ANALYSIS})
        for _ in range(times):
            # It may begin to fail at any time between two checks.
            pause = chance.uniform(0, result.interval)
            result.rollbacks.append(_roll_back(given.model, timeline, pause))
            print(result.rollbacks[-1], file=sys.stderr, flush=True)
    return result


def _roll_back(model: ReleasedModel, timeline: Timeline, pause: float) -> Rollback:
    """Releases a version that is good until it has been checked, and then fails at each request."""
    version, deployed = model.register(FAULTY), model.deployed
    with under_load(deployed.request, PER_SECOND) as good:
        model.release(version)
        wait_for(deployed, "it is found good, or not yet", lambda: _tests(model) > 0)
        time.sleep(pause)
        revisions = {role: deployed.status[role]["revision"] for role in ("stable", "target")}
        tests = _tests(model)
    with under_load(deployed.slow_request(WAIT), PER_SECOND) as bad:
        failed_at = wait_for(deployed, "a bad answer", lambda: _first_failure(bad))
        back = {revisions["stable"]: 100}
        accepted = wait_for(
            deployed,
            "the weights are back",
            lambda: timeline.routed(back, failed_at, is_accepted=True),
        )
        then_condition(deployed, "Progressing", "False", "AnalysisFailed")
    requested = timeline.routed(back, failed_at, is_accepted=False)
    shared = {revisions["stable"]: 100 - WEIGHT, revisions["target"]: WEIGHT}
    split = timeline.routed(shared, 0.0, is_accepted=True)
    assert requested is not None and split is not None
    model.recall()
    return Rollback(
        version,
        measurable=_measurable_at(good, bad, split, tests + 1) - failed_at,
        requested=requested - failed_at,
        accepted=accepted - failed_at,
        last_bad_answer=max(at for at, _ in bad.failures) - failed_at,
        bad_answers=dict(Counter(text.partition(" ")[0] for _, text in bad.failures)),
    )


def _tests(model: ReleasedModel) -> int:
    """How often the analysis has tested the present step."""
    rollout = model.deployed.status.get("rollout", {})
    return int(rollout.get("analysis", {}).get("tests", 0))


def _first_failure(load: Load) -> float | None:
    return min((at for at, _ in list(load.failures)), default=None)


def _measurable_at(good: Load, bad: Load, since: float, test: int) -> float:
    """When enough answers had been bad for the analysis, had it looked at that very moment.

    It counts what was answered since the canary got its share.
    """
    shares = Counter(answer for at, answer in good.answers if at >= since)
    target, stable = Counts(requests=shares[FAULTY]), Counts(requests=shares[GOOD[0]])
    is_bad = {at: True for at, _ in bad.failures} | {at: False for at, _ in bad.answers}
    for at in sorted(is_bad):
        if is_bad[at]:
            target += Counts(requests=1, errors=1)
        else:
            stable += Counts(requests=1)
        if _is_bad(Window(target, stable), test):
            return at
    raise AssertionError("the version was rolled back by fewer bad answers than the test needs")


def _is_bad(window: Window, test: int) -> bool:
    analysis = Analysis.model_validate(ANALYSIS)
    accepted = levels(analysis, len(STEPS), test)
    reports = judge(analysis, window, Reading(), accepted)
    return any(report.verdict is Verdict.BAD for report in reports)
