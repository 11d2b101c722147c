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
# On a resource, by its users: pause, resume, promote, abort or retry, as <word>/<any text>. Each
# value acts once upon the rollout.
ROLLOUT = f"{GROUP}/rollout"
# On pods to which only some namespaces may connect: NetworkPolicies for all models leave them out,
# since what any NetworkPolicy allows is allowed.
CALLERS = f"{GROUP}/callers"
CALLERS_RESTRICTED = "restricted"
# On pods: when the model version was registered, in milliseconds since 1970. One that is deleted
# and registered again has the same number, and is another version.
MODEL_CREATED = f"{GROUP}/model-created"
# On the lease: where the replica that leads receives webhooks, for the others to pass theirs on.
WEBHOOK_ADDRESS = f"{GROUP}/webhook-address"
