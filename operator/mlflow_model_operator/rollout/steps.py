"""The schedule of a rollout: the shares that a new revision gets, one after the other. Pure."""

from __future__ import annotations

import math

from mlflow_model_operator.api.schedule import DIRECT, STRATEGIES, Schedule, Step, schedule_of
from mlflow_model_operator.api.spec import Spec

__all__ = ["DIRECT", "STRATEGIES", "Schedule", "Step", "required_replicas", "schedule"]


def schedule(spec: Spec) -> Schedule:
    """The steps that the spec asks for. Beside a canary there are none: both would split requests.

    >>> schedule(Spec.model_validate({"model": {"uri": "models:/wine@champion"}, "rollout":
    ...     {"steps": [{"weight": 10, "hold": "2m"}, {"pause": {}}, {"weight": 50}]}}))
    (Step(weight=10, hold=120.0, pods=None, shadow=0), \
Step(weight=10, hold=inf, pods=None, shadow=0), Step(weight=50, hold=0.0, pods=None, shadow=0))
    """
    others = {"canary": spec.canary, "variants": spec.variants}
    return schedule_of({"rollout": spec.rollout.dump(), **others})


def required_replicas(stable_replicas: int, weight: int) -> int:
    """How many pods serve `weight` percent of what `stable_replicas` serve.

    >>> required_replicas(4, 10), required_replicas(4, 50), required_replicas(4, 51)
    (1, 2, 3)
    """
    return max(1, math.ceil(stable_replicas * weight / 100))
