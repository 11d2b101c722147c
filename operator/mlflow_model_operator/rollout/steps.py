"""The schedule of a rollout: the shares that a new revision gets, one after the other. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.spec import Rollout, RolloutStep, Spec

MINUTE = 60.0  # seconds


@dataclass(frozen=True)
class Step:
    """A share of the requests, and for how long it is held; without end: until a person resumes."""

    weight: int  # percent
    hold: float = 0.0  # seconds
    pods: int | None = None  # that it takes; None: by the share


Schedule = tuple[Step, ...]

# Without steps a revision takes over as soon as it is ready.
DIRECT: Schedule = ()
STRATEGIES: Mapping[str, Schedule] = {
    "direct": DIRECT,
    "canary": (Step(10, 2 * MINUTE), Step(25, 2 * MINUTE), Step(50, 2 * MINUTE)),
    "blueGreen": (Step(100, 5 * MINUTE),),
}


def schedule(spec: Spec) -> Schedule:
    """The steps that the spec asks for. Beside a canary there are none: both would split requests.

    >>> schedule(Spec.model_validate({"model": {"uri": "models:/wine@champion"}, "rollout":
    ...     {"steps": [{"weight": 10, "hold": "2m"}, {"pause": {}}, {"weight": 50}]}}))
    (Step(weight=10, hold=120.0, pods=None), Step(weight=10, hold=inf, pods=None), \
Step(weight=50, hold=0.0, pods=None))
    """
    rollout: Rollout = spec.rollout
    if spec.canary is not None:
        return DIRECT
    if rollout.steps is None:
        return STRATEGIES[rollout.strategy or "direct"]
    return tuple(_steps(rollout.steps))


def _steps(written: Iterable[RolloutStep]) -> Iterable[Step]:
    weight = 0  # a pause before the first weight: the revision is ready, and gets no requests
    for step in written:
        if step.weight is not None:
            weight = step.weight
            yield Step(weight, quantity.seconds(step.hold) if step.hold else 0.0)
        else:
            duration = step.pause.duration if step.pause else None
            yield Step(weight, quantity.seconds(duration) if duration else math.inf)


def required_replicas(stable_replicas: int, weight: int) -> int:
    """How many pods serve `weight` percent of what `stable_replicas` serve.

    >>> required_replicas(4, 10), required_replicas(4, 50), required_replicas(4, 51)
    (1, 2, 3)
    """
    return max(1, math.ceil(stable_replicas * weight / 100))
