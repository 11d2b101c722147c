"""A condition, before it gets its times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mlflow_model_operator.api.reasons import Reason


class ConditionStatus(StrEnum):
    """Kubernetes' three-valued condition status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """A status condition before it gets its times; see the Kubernetes API conventions."""

    type: str
    status: ConditionStatus
    reason: Reason
    message: str


def met(type_: str, reason: Reason, message: str) -> Condition:
    """A condition that is True."""
    return Condition(type_, ConditionStatus.TRUE, reason, message)


def unmet(type_: str, reason: Reason, message: str) -> Condition:
    """A condition that is False."""
    return Condition(type_, ConditionStatus.FALSE, reason, message)
