"""Which revisions exist and which share of the requests each gets. Pure."""

from mlflow_model_operator.api.phase import Phase
from mlflow_model_operator.rollout.decision import (
    Decision,
    Desired,
    Postponement,
    Previous,
    Rejected,
    Trial,
    decide,
)
from mlflow_model_operator.rollout.replicas import approximate_canary_replicas
from mlflow_model_operator.rollout.routing import (
    LiveRouting,
    accepted_revisions,
    listed_weights,
    live_routing,
    programmed_weights,
    selected_revisions,
)
from mlflow_model_operator.rollout.shadow import Shadow
from mlflow_model_operator.rollout.state import deployment_state

__all__ = [
    "Decision",
    "Desired",
    "LiveRouting",
    "Phase",
    "Postponement",
    "Previous",
    "Rejected",
    "Shadow",
    "Trial",
    "accepted_revisions",
    "approximate_canary_replicas",
    "decide",
    "deployment_state",
    "listed_weights",
    "live_routing",
    "programmed_weights",
    "selected_revisions",
]
