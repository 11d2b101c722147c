"""From a resource and what is seen of it to what must be so: which objects exist, which may go.

Pure: it decides (rollout), renders (render) and compares, but never acts. `reconcile` acts on it.
"""

from mlflow_model_operator.plan.changes import Change, Changes, compute_changes
from mlflow_model_operator.plan.desired import desired_objects
from mlflow_model_operator.plan.revisions import Plan, Resolution, RevisionNames, make_plan

__all__ = [
    "Change",
    "Changes",
    "Plan",
    "Resolution",
    "RevisionNames",
    "compute_changes",
    "desired_objects",
    "make_plan",
]
