"""The steps of `spec.rollout` as a schedule of shares; the strategies with their steps. Pure.

Of the standard library alone, so that the kubectl plugin, which reads the resource as plain JSON,
starts at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_model_operator.api import quantity

MINUTE = 60.0  # seconds
DEFAULT_COPIES = 10  # percent of the requests


@dataclass(frozen=True)
class Step:
    """A share of the requests, and for how long it is held; without end: until a person resumes."""

    weight: int  # percent
    hold: float = 0.0  # seconds
    pods: int | None = None  # that it takes; None: by the share
    shadow: int = 0  # the share of the requests that it gets copies of, in percent


Schedule = tuple[Step, ...]

# Without steps a revision takes over as soon as it is ready.
DIRECT: Schedule = ()
STRATEGIES: Mapping[str, Schedule] = {
    "direct": DIRECT,
    "canary": (Step(10, 2 * MINUTE), Step(25, 2 * MINUTE), Step(50, 2 * MINUTE)),
    "blueGreen": (Step(100, 5 * MINUTE),),
}


def schedule_of(spec: Mapping[str, Any]) -> Schedule:
    """The steps that a spec asks for; none beside a canary or variants, which split requests too.

    >>> schedule_of({"rollout": {"steps": [{"weight": 10, "hold": "2m"}, {"pause": {}}]}})
    (Step(weight=10, hold=120.0, pods=None, shadow=0), Step(weight=10, hold=inf, pods=None, \
shadow=0))
    """
    if spec.get("canary") is not None or spec.get("variants"):
        return DIRECT
    rollout = spec.get("rollout") or {}
    if rollout.get("steps") is None:
        return STRATEGIES[rollout.get("strategy") or "direct"]
    return tuple(_steps(rollout["steps"]))


def _steps(written: Iterable[Mapping[str, Any]]) -> Iterable[Step]:
    """A pause goes on as the step before it: before the first, the revision gets no requests."""
    weight = shadow = 0
    for step in written:
        copies, hold = step.get("shadow"), step.get("hold")
        if step.get("weight") is not None:
            weight, shadow = step["weight"], 0
        elif copies is not None:
            weight, shadow = 0, int(copies.get("percent") or DEFAULT_COPIES)
        else:
            duration = (step.get("pause") or {}).get("duration")
            yield Step(weight, quantity.seconds(duration) if duration else math.inf, shadow=shadow)
            continue
        yield Step(weight, quantity.seconds(hold) if hold else 0.0, shadow=shadow)
