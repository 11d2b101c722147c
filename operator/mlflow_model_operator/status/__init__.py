"""From a snapshot of a resource to its conditions, its status and its events. Pure."""

from mlflow_model_operator.status.diagnosis import requeue_after
from mlflow_model_operator.status.events import events
from mlflow_model_operator.status.registry import writes
from mlflow_model_operator.status.snapshot import ApplyError, ApplyFailure, NameConflict, Snapshot
from mlflow_model_operator.status.status import invalid_status, status, status_patch
from mlflow_model_operator.status.summary import grace_ends_after

__all__ = [
    "ApplyError",
    "ApplyFailure",
    "NameConflict",
    "Snapshot",
    "events",
    "grace_ends_after",
    "invalid_status",
    "requeue_after",
    "status",
    "status_patch",
    "writes",
]
