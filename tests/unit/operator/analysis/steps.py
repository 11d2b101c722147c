"""A step of a rollout that is measured: two revisions, and what their pods have counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_model_operator.analysis import Measurement, PodReading, Reading, Report, Session, StepId
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.spec import Analysis
from tests.unit.operator.analysis.expositions import exposition

KEY = Key("models", "wine")
STEP = StepId(target="new", stable="old", step=0, since=1000)


def measurement(weight: int = 10, steps: int = 1, **analysis: Any) -> Measurement:
    return Measurement(KEY, "uid-1", STEP, weight, steps, Analysis.model_validate(analysis))


def pod(revision: str, codes: Mapping[int, int], name: str = "", **more: Any) -> PodReading:
    result = exposition(revision, codes, **more)
    return PodReading(name or f"{revision}-1", revision, result)


def silent(revision: str, name: str) -> PodReading:
    return PodReading(name, revision, f"pod {name}: its metrics port can't be reached")


def reading(*pods: PodReading, **queries: float | str) -> Reading:
    return Reading(pods, frozenset(entry.uid for entry in pods), queries)


def both(target: Mapping[int, int], stable: Mapping[int, int], **queries: float | str) -> Reading:
    return reading(pod("new", target), pod("old", stable), **queries)


class Looks:
    """A session that has begun, with pods that had counted something before."""

    def __init__(self, weight: int = 10, steps: int = 1, **analysis: Any) -> None:
        self.session = Session(measurement(weight, steps, **analysis))
        self.at = 1000.0
        assert self.session.look(self.at, both({200: 7}, {200: 1_000_000, 500: 9000})) is None

    def look(self, seen: Reading) -> Report:
        self.at += 30
        report = self.session.look(self.at, seen)
        assert report is not None
        return report

    def since_start(
        self, target: Mapping[int, int], stable: Mapping[int, int], **queries: float | str
    ) -> Report:
        """So much was counted since the window began."""
        before = {200: 1_000_000, 500: 9000}
        return self.look(
            both(
                {code: target.get(code, 0) + (7 if code == 200 else 0) for code in {200, *target}},
                {code: stable.get(code, 0) + before.get(code, 0) for code in {*before, *stable}},
                **queries,
            )
        )
