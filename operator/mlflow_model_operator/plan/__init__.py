"""From a resource and what is seen of it to what must be so: which objects exist, which may go.

Pure: it decides (rollout), renders (render) and compares, but never acts. `reconcile` acts on it.
"""

from mlflow_model_operator.plan.changes import Steps, Unmet, make_steps
from mlflow_model_operator.plan.desired import desired_objects
from mlflow_model_operator.plan.revisions import Meaning, Plan, RevisionNames, make_plan

__all__ = [
    "Meaning",
    "Plan",
    "RevisionNames",
    "Steps",
    "Unmet",
    "desired_objects",
    "make_plan",
    "make_steps",
]
