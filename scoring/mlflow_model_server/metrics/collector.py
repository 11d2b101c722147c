"""Collects the metrics for a scrape, in the process that Prometheus scrapes."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from mlflow_model_server.drift.bins import Baseline, Bins
from mlflow_model_server.metrics import environment, exposition, process, shadow_memory, slots
from mlflow_model_server.metrics.exposition import DriftSeries, Shadows, ShadowSeries, Snapshot
from mlflow_model_server.metrics.shadow_memory import ShadowCounts, ShadowMemory
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.onnx import result
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

WINDOW = 3600.0  # seconds that the stability index looks back
_HISTORY_INTERVAL = 300.0


class Collector:
    """Renders one scrape after the other. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        shared: SharedMemory,
        started: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`started` is when the first process began, as Unix time."""
        self._settings = settings
        self._shared = shared
        self._now = now
        self._started = started
        self._cpu_seconds = 0.0
        self._baseline: Any = None
        # Times, and the counts of the bins at those times.
        self._history: deque[tuple[float, list[float]]] = deque()

    def text(self) -> str:
        """All metrics, in Prometheus' text format."""
        created = self._created
        numbers = self._shared.totals()
        return exposition.render(
            Snapshot(
                numbers=numbers,
                labels={
                    "model": self._settings.model_name,
                    "version": self._settings.model_version,
                    "revision": self._settings.revision,
                },
                workers=self._settings.workers,
                process=self._process(),
                model_age=None if created is None else max(0.0, self._now() - created),
                info=self._info,
                environment_matches=self._environment_matches,
                onnx=self._onnx(),
                measures_feature_ages=self._settings.staleness_column is not None,
                shadows=None if self._shared.shadow is None else _shadows(self._shared.shadow),
                **self._drift(numbers),
            )
        )

    # These three do not change while the server runs.
    @cached_property
    def _info(self) -> dict[str, str]:
        return _info()

    @cached_property
    def _environment_matches(self) -> bool | None:
        return self._from_model(
            lambda artifact: environment.matches(artifact, self._settings.requirements_env)
        )

    @cached_property
    def _created(self) -> float | None:
        given = self._settings.model_created
        return self._from_model(environment.created) if given is None else given

    def _from_model(self, read: Callable[[Path], T]) -> T | None:
        try:
            return read(self._settings.artifact)
        except OSError as error:
            log.warning("a metric is left out: %s", error)
            return None

    def _onnx(self) -> exposition.Onnx | None:
        """None before all workers have loaded the model."""
        states = self._shared.per_worker(slots.ONNX)
        if not self._settings.onnx or 0 in states:
            return None
        if all(state == slots.ONNX_ACTIVE for state in states):
            return exposition.Onnx(True)
        return exposition.Onnx(
            False, result.read(self._settings.converted).reason or result.REFUSED
        )

    def _process(self) -> exposition.Process:
        shadow = self._shared.shadow
        senders = [] if shadow is None else shadow.pids()
        usage = process.usage([*self._shared.pids(), *senders], self._started)
        # Without a worker that has just ended, the sum would be less: a counter never goes back.
        self._cpu_seconds = max(self._cpu_seconds, usage.cpu_seconds)
        return exposition.Process(**{**vars(usage), "cpu_seconds": self._cpu_seconds})

    def _drift(self, numbers: Sequence[float]) -> dict[str, Any]:
        if self._baseline is None:
            self._baseline = self._shared.published()
        if self._baseline is None:
            return {}
        baseline = Baseline.from_json(self._baseline)
        counts = list(numbers[slots.DRIFT :])
        before = self._counts_before(counts)
        series = [_series(bins, counts, before, place) for bins, place in baseline.placed()]
        return {
            "features": series[: len(baseline.features)],
            "predictions": series[len(baseline.features) :],
            "baseline_source": self._baseline["source"],
        }

    def _counts_before(self, counts: list[float]) -> list[float]:
        """The counts of a WINDOW ago, or of the start; to within a few minutes."""
        now = self._now()
        if not self._history:
            self._history.append((now, [0.0] * len(counts)))
        while len(self._history) > 1 and self._history[1][0] <= now - WINDOW:
            self._history.popleft()
        before = self._history[0][1]
        if now - self._history[-1][0] >= _HISTORY_INTERVAL:
            self._history.append((now, counts))
        return before


def _series(bins: Bins, counts: list[float], before: list[float], place: int) -> DriftSeries:
    span = slice(place, place + bins.size)
    total = counts[span]
    return DriftSeries(bins, total, [a - b for a, b in zip(total, before[span], strict=True)])


def _shadows(memory: ShadowMemory) -> Shadows:
    workers = memory.read()
    by_revision: dict[str, list[ShadowCounts]] = {}
    for each in workers:
        if each.state == shadow_memory.ACTIVE:
            by_revision.setdefault(each.revision, []).append(each)
    return Shadows(
        is_valid=all(each.state != shadow_memory.INVALID for each in workers),
        series=[_shadow_series(counts, len(workers)) for counts in by_revision.values()],
    )


def _shadow_series(counts: Sequence[ShadowCounts], workers: int) -> ShadowSeries:
    """Of those workers that copy requests to the same revision."""
    revision, version = counts[0].revision, counts[0].version
    numbers = list(map(math.fsum, zip(*(each.numbers for each in counts), strict=True)))
    in_effect = [each for each in counts if each.version == version]
    return ShadowSeries(revision, version, numbers, len(in_effect) == workers)


def _info() -> dict[str, str]:
    versions = {"python_version": platform.python_version()}
    for label, package in (
        ("server_version", "mlflow-model-server"),
        ("mlflow_version", "mlflow-skinny"),
    ):
        try:
            versions[label] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[label] = "unknown"
    return versions
