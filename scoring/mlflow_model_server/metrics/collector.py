"""Gathers what a scrape tells, in the process that tells it."""

from __future__ import annotations

import logging
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from mlflow_model_server.drift.bins import Baseline, Bins
from mlflow_model_server.metrics import environment, exposition, process, slots
from mlflow_model_server.metrics.exposition import Snapshot, Watched
from mlflow_model_server.metrics.shared_memory import Shared
from mlflow_model_server.onnx import result
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

WINDOW = 3600.0  # seconds that the stability index looks back
_SECONDS_BETWEEN_MARKS = 300.0


class Scraper:
    """Makes the text for one scrape after the other. For one thread."""

    def __init__(
        self,
        settings: Settings,
        shared: Shared,
        started: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`started` is when the first process began, as Unix time."""
        self._settings = settings
        self._shared = shared
        self._now = now
        self._started = started
        self._cpu_seconds = 0.0
        self._known: Any = None
        # When it was, and what had been counted into the bins by then.
        self._marks: deque[tuple[float, list[float]]] = deque()

    def text(self) -> str:
        """All metrics, in Prometheus' text format."""
        created = self._created
        numbers = self._shared.totals()
        return exposition.text(
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
                environment_as_pinned=self._as_pinned,
                onnx=self._onnx(),
                **self._drift(numbers),
            )
        )

    # None of these three changes while the server runs.
    @cached_property
    def _info(self) -> dict[str, str]:
        return _info()

    @cached_property
    def _as_pinned(self) -> bool | None:
        return self._asked_of_model(
            lambda artifact: environment.as_pinned(artifact, self._settings.requirements_env)
        )

    @cached_property
    def _created(self) -> float | None:
        given = self._settings.model_created
        return self._asked_of_model(environment.created) if given is None else given

    def _asked_of_model(self, ask: Callable[[Path], T]) -> T | None:
        try:
            return ask(self._settings.artifact)
        except OSError as error:
            log.warning("a metric is left out: %s", error)
            return None

    def _onnx(self) -> exposition.Onnx | None:
        """Nothing is told before all workers have loaded the model."""
        each = self._shared.of_each(slots.ONNX)
        if not self._settings.onnx or 0 in each:
            return None
        if all(one == slots.BY_ONNX for one in each):
            return exposition.Onnx(True)
        return exposition.Onnx(
            False, result.read(self._settings.converted).reason or result.REFUSED
        )

    def _process(self) -> exposition.Process:
        figures = process.figures(self._shared.pids(), self._started)
        # A worker that ends between two looks would be missing in one: a counter never goes back.
        self._cpu_seconds = max(self._cpu_seconds, figures.cpu_seconds)
        return exposition.Process(**{**vars(figures), "cpu_seconds": self._cpu_seconds})

    def _drift(self, numbers: Sequence[float]) -> dict[str, Any]:
        if self._known is None:
            self._known = self._shared.agreed()
        if self._known is None:
            return {}
        known = Baseline.from_json(self._known)
        counts = list(numbers[slots.DRIFT :])
        before = self._counts_before(counts)
        watched = [_watched(bins, counts, before, place) for bins, place in known.placed()]
        return {
            "features": watched[: len(known.features)],
            "predictions": watched[len(known.features) :],
            "baseline_source": self._known["source"],
        }

    def _counts_before(self, counts: list[float]) -> list[float]:
        """What had been counted a WINDOW ago, or at the start. Kept every few minutes."""
        now = self._now()
        if not self._marks:
            self._marks.append((now, [0.0] * len(counts)))
        while len(self._marks) > 1 and self._marks[1][0] <= now - WINDOW:
            self._marks.popleft()
        before = self._marks[0][1]
        if now - self._marks[-1][0] >= _SECONDS_BETWEEN_MARKS:
            self._marks.append((now, counts))
        return before


def _watched(bins: Bins, counts: list[float], before: list[float], place: int) -> Watched:
    span = slice(place, place + bins.size)
    total = counts[span]
    return Watched(bins, total, [a - b for a, b in zip(total, before[span], strict=True)])


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
