"""From what is seen to what is told: conditions, status, events. Pure."""

from mlflow_model_operator.status.diagnosis import recheck_after
from mlflow_model_operator.status.events import events
from mlflow_model_operator.status.snapshot import NAME_TAKEN, ApplyError, Snapshot
from mlflow_model_operator.status.status import invalid_status, status, status_patch

__all__ = [
    "NAME_TAKEN",
    "ApplyError",
    "Snapshot",
    "events",
    "invalid_status",
    "recheck_after",
    "status",
    "status_patch",
]
