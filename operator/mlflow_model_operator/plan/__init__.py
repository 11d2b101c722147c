"""From a resource and its live objects to the changes to make: what to apply, scale and delete.

Pure: it decides (rollout), renders (render) and compares, but never acts. `reconcile` does.
"""

from mlflow_model_operator.plan.analysis import measurement
from mlflow_model_operator.plan.changes import Change, Changes, compute_changes
from mlflow_model_operator.plan.desired import desired_objects
from mlflow_model_operator.plan.previous import unseen_objects
from mlflow_model_operator.plan.revisions import (
    Plan,
    Resolution,
    RevisionNames,
    Surroundings,
    make_plan,
)
from mlflow_model_operator.plan.rollout import Reports
from mlflow_model_operator.plan.shadow import shadow_measurement

__all__ = [
    "Change",
    "Changes",
    "Plan",
    "Reports",
    "Resolution",
    "RevisionNames",
    "Surroundings",
    "compute_changes",
    "desired_objects",
    "make_plan",
    "measurement",
    "shadow_measurement",
    "unseen_objects",
]
