"""Names that the operator writes into its objects."""

from __future__ import annotations

GROUP = "mlflow-model-operator.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "MLflowModelDeployment"
PLURAL = "mlflowmodeldeployments"

FIELD_MANAGER = "mlflow-model-operator"

# On every child, so that one label selector watches, and prunes, what is ours and nothing else.
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "mlflow-model-operator"
# Which resource a child belongs to, and which revision (absent on what spans revisions).
DEPLOYMENT = f"{GROUP}/deployment"
REVISION = f"{GROUP}/revision"
# On autoscalers and routes: a hash of the spec that was applied, which shows that a field has been
# dropped since.
APPLIED = f"{GROUP}/applied"
