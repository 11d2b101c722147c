"""From what is seen to what is told: conditions, status, events. Pure."""

from mlflow_model_operator.observe.failure import recheck_after
from mlflow_model_operator.observe.notices import notices
from mlflow_model_operator.observe.situation import NAME_TAKEN, ApplyError, Situation
from mlflow_model_operator.observe.status import invalid_status, status, status_patch

__all__ = [
    "NAME_TAKEN",
    "ApplyError",
    "Situation",
    "invalid_status",
    "notices",
    "recheck_after",
    "status",
    "status_patch",
]
