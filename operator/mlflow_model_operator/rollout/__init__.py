"""Which revisions exist and which share of the requests each gets. Pure."""

from mlflow_model_operator.rollout.decision import Decision, Desired, Phase, Previous, decide
from mlflow_model_operator.rollout.replicas import approximate_canary_replicas
from mlflow_model_operator.rollout.state import deployment_state

__all__ = [
    "Decision",
    "Desired",
    "Phase",
    "Previous",
    "approximate_canary_replicas",
    "decide",
    "deployment_state",
]
