"""What to measure for a rollout that holds a step, and what came of it. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_model_operator.analysis.exposition import Exposition
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.spec import Analysis
from mlflow_model_operator.rollout.progress import Verdict


@dataclass(frozen=True)
class StepId:
    """One step of one rollout: what is measured at it says nothing about another."""

    target: str  # revisions
    stable: str
    step: int  # an index
    since: int  # epoch seconds, as whole as the status has them


@dataclass(frozen=True)
class Measurement:
    """What is to be measured while a rollout holds a step."""

    key: Key
    uid: str
    step: StepId
    weight: int  # the target's share of the requests, in percent
    steps: int  # how many the rollout has
    analysis: Analysis
    # When the hold is over, epoch seconds; None: only a person ends it.
    until: float | None = field(default=None, compare=False)
    # Tests and bad looks so far, by an operator that ended since.
    tests: int = field(default=0, compare=False)
    failures: int = field(default=0, compare=False)
    # Whether the target gets copies of requests only, which the stable revision's pods compare.
    is_shadow: bool = False

    @property
    def revisions(self) -> tuple[str, ...]:
        """The revisions whose pods have counted what is judged."""
        stable = self.step.stable
        return (stable,) if self.is_shadow else (self.step.target, stable)


@dataclass(frozen=True)
class PodReading:
    """The metrics of one pod, or why they could not be read."""

    uid: str
    revision: str
    result: Exposition | str


@dataclass(frozen=True)
class Reading:
    """All that was read at one look."""

    pods: tuple[PodReading, ...] = ()
    listed: frozenset[str] = frozenset()  # the uids of all pods that there are, read or not
    # Of each query its value, or why it has none.
    queries: Mapping[str, float | str] = field(default_factory=dict)
    problem: str = ""  # why no pods were read at all


@dataclass(frozen=True)
class MetricReport:
    """What one metric says. The values are for people."""

    name: str
    verdict: Verdict
    message: str
    stable: str = ""
    target: str = ""


@dataclass(frozen=True)
class Report:
    """What all metrics say at one look."""

    step: StepId
    verdict: Verdict
    message: str
    started_at: float  # when the window began, epoch seconds
    at: float
    metrics: tuple[MetricReport, ...] = ()
    stable_requests: int = 0
    target_requests: int = 0
    pods: int = 0  # that were read
    unreachable_count: int = 0  # that could not be read
    unreachable_reason: str = ""  # why the first of them could not
    resets: int = 0  # of counters
    observed_weight: int | None = None  # the target's share of the requests since the last look
    tests: int = 0
    failures: int = 0  # looks at which a metric was bad
