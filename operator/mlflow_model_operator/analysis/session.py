"""The checks of one step of a rollout. Pure, except that it remembers the previous ones.

That memory is lost when the operator ends: the next one starts a new window, without a verdict.
Only the numbers of tests and of bad checks are in the status too.
"""

from __future__ import annotations

from collections import deque

from mlflow_model_operator.analysis.counts import Counts, growth
from mlflow_model_operator.analysis.exposition import Exposition
from mlflow_model_operator.analysis.judge import Window, judge, judge_shadow, levels, worst
from mlflow_model_operator.analysis.report import (
    Measurement,
    MetricReport,
    PodReading,
    Reading,
    Report,
)
from mlflow_model_operator.analysis.shadow import ShadowCounts, shadow_growth
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.rollout.progress import Verdict

# A window is the whole step, or its last looks where it has more.
MAX_LOOKS = 60
MAX_MESSAGE = 500  # characters
MAX_REMEMBERED = 1000  # pods, gone ones among them

# Of the target, of the stable revision, and of the copies that this sends to the target.
_Totals = tuple[Counts, Counts, ShadowCounts]


class Session:
    """Judges a step by one reading after the other."""

    def __init__(self, measurement: Measurement, carried: Counts | None = None) -> None:
        """`carried` is what the stable revision counted at the step before."""
        self.measurement = measurement
        self._carried = carried
        self._previous: dict[str, Exposition] = {}  # by pod
        self._present_at_start: frozenset[str] = frozenset()  # pods
        self._target, self._stable, self._shadow = Counts(), Counts(), ShadowCounts()
        self._history: deque[tuple[float, _Totals]] = deque(maxlen=MAX_LOOKS + 1)
        self._tested_requests = 0.0
        self._tests = measurement.tests
        self._failures = measurement.failures
        self._resets = 0

    @property
    def stable_window(self) -> Counts:
        """What the stable revision has counted: to compare with at a step that leaves it none."""
        return self._window.stable if self._history else Counts()

    def look(self, at: float, reading: Reading) -> Report | None:
        """Judges what was counted until now; None at the first reading, which begins the window."""
        if reading.problem:
            return self._without_counts(at, reading.problem)
        is_first = not self._history
        if is_first:
            self._present_at_start = reading.listed
        for pod in reading.pods:
            self._count(pod)
        self._forget_absent(reading)
        self._history.append((at, (self._target, self._stable, self._shadow)))
        return None if is_first else self._report(at, reading)

    def _without_counts(self, at: float, problem: str) -> Report:
        """Where no pod could be read at all: nothing is known."""
        started_at = self._history[0][0] if self._history else at
        return Report(
            step=self.measurement.step,
            verdict=Verdict.INCONCLUSIVE,
            message=single_line(problem, MAX_MESSAGE),
            started_at=started_at,
            at=at,
            tests=self._tests,
            failures=self._failures,
        )

    def _count(self, pod: PodReading) -> None:
        """Adds what a pod has counted since it was read before.

        What a pod had counted when it was first read does not count if it was there when the window
        began. One that has come since counts from zero.
        """
        if isinstance(pod.result, str):
            return
        before = self._previous.get(pod.uid)
        self._previous[pod.uid] = pod.result
        if before is None and pod.uid in self._present_at_start:
            return
        grown = growth(before, pod.result)
        self._resets += grown.is_reset
        if pod.revision == self.measurement.step.target:
            self._target += grown.counts
            return
        self._stable += grown.counts
        if self.measurement.is_shadow:
            since = None if grown.is_reset else before
            self._shadow += shadow_growth(since, pod.result, self.measurement.step.target)

    def _forget_absent(self, reading: Reading) -> None:
        """A pod that is not listed for once, and is again, must not count from zero."""
        if len(self._previous) > MAX_REMEMBERED:
            self._previous = {k: v for k, v in self._previous.items() if k in reading.listed}

    @property
    def _window(self) -> Window:
        """What was counted since the oldest look that is remembered."""
        _, (target, stable, shadow) = self._history[0]
        return Window(self._target - target, self._stable - stable, self._shadow - shadow)

    def _report(self, at: float, reading: Reading) -> Report:
        window = self._compared(self._window)
        metrics = self._judge(window, reading)
        unreachable = [pod.result for pod in reading.pods if isinstance(pod.result, str)]
        verdict, why = self._verdict(metrics, reading)
        return Report(
            step=self.measurement.step,
            verdict=verdict,
            message=single_line(why, MAX_MESSAGE),
            started_at=self._history[0][0],
            at=at,
            metrics=metrics,
            stable_requests=round(window.stable.requests),
            target_requests=round(self._judged_requests(window)),
            pods=len(reading.pods) - len(unreachable),
            unreachable_count=len(unreachable),
            unreachable_reason=single_line(next(iter(unreachable), "")),
            resets=self._resets,
            observed_weight=self._observed_weight(),
            tests=self._tests,
            failures=self._failures,
        )

    def _compared(self, window: Window) -> Window:
        """With weight 100 the stable revision has no requests: those of the step before count."""
        if self.measurement.weight == 100 and self._carried and not window.stable.requests:
            return Window(window.target, self._carried)
        return window

    def _judged_requests(self, window: Window) -> float:
        """The requests to the target, or the copies that it got instead."""
        is_shadow = self.measurement.is_shadow
        return window.shadow.requests if is_shadow else window.target.requests

    def _judge(self, window: Window, reading: Reading) -> tuple[MetricReport, ...]:
        """A test is one that has something new to judge."""
        analysis, requests = self.measurement.analysis, self._judged_requests(window)
        is_shadow = self.measurement.is_shadow
        is_test = requests >= analysis.min_requests and requests != self._tested_requests
        if is_test:
            self._tests += 1
            self._tested_requests = requests
        steps, test = self.measurement.steps, max(self._tests, 1)
        accepted = levels(analysis, steps, test, is_shadow=is_shadow)
        if is_shadow:
            metrics = judge_shadow(analysis, window.shadow, accepted)
        else:
            metrics = judge(analysis, window, reading, accepted)
        if any(metric.verdict is Verdict.BAD for metric in metrics):
            self._failures += 1
        return metrics

    def _verdict(self, metrics: tuple[MetricReport, ...], reading: Reading) -> tuple[Verdict, str]:
        """The verdict, and what it is based on."""
        verdict = worst(metric.verdict for metric in metrics)
        decisive = [metric.message for metric in metrics if metric.verdict is verdict]
        limit = self.measurement.analysis.failure_limit
        if verdict is Verdict.BAD and self._failures <= limit:
            so_far = f"bad at {self._failures} checks, failureLimit is {limit}"
            return Verdict.INCONCLUSIVE, f"{'; '.join(decisive)} ({so_far})"
        unread = [pod for pod in reading.pods if self._is_unread_target(pod)]
        if verdict is Verdict.GOOD and unread:
            why = f"the metrics of {len(unread)} pods can't be read: {unread[0].result}"
            return Verdict.INCONCLUSIVE, why
        if verdict is Verdict.GOOD:
            decisive = [metric.message for metric in metrics]
        return verdict, "; ".join(decisive)

    def _is_unread_target(self, pod: PodReading) -> bool:
        return isinstance(pod.result, str) and pod.revision == self.measurement.step.target

    def _observed_weight(self) -> int | None:
        """The target's share of the requests since the look before, in percent."""
        if self.measurement.is_shadow:
            return None
        _, (target, stable, _) = self._history[-2]
        of_target = self._target.requests - target.requests
        total = of_target + self._stable.requests - stable.requests
        return round(100 * of_target / total) if total > 0 else None
