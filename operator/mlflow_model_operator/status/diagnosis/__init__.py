"""Why the pods of a revision are not ready, and what to do about it. Pure."""

from mlflow_model_operator.status.diagnosis.checks import (
    Failure,
    diagnose,
    diagnose_apply_failure,
    requeue_after,
)

__all__ = ["Failure", "diagnose", "diagnose_apply_failure", "requeue_after"]
