"""What to do about a failure, in terms of the fields that users write."""

from __future__ import annotations

import re

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.status.snapshot import ApplyError

# The reasons that our containers leave in their termination message, each with its fix.
CONTAINER_FIXES: dict[Reason, str] = {
    Reason.ARTIFACT_UNREADABLE: "check that it exists and that spec.model.credentialsSecret grants "
    "access to it",
    Reason.ARTIFACT_UNAUTHORIZED: "correct the credentials in the Secret that "
    "spec.model.credentialsSecret names, and grant their user access to the model",
    Reason.ARTIFACT_SERVER_UNREACHABLE: "check that it runs, that its address is right, and that "
    "no NetworkPolicy or firewall keeps the pods from it",
    Reason.ARTIFACT_SERVER_UNTRUSTED: "put the certificate of its authority into a ConfigMap and "
    "set spec.dependencies.caConfigMap to it",
    Reason.DEPENDENCY_INSTALL_FAILED: "correct the model's requirements and log it again, or set "
    "an index that has the package in spec.dependencies",
    Reason.PACKAGE_INDEX_UNAUTHORIZED: "correct the login: the variable INDEX_URL, with user and "
    "password in its URL, in the Secret that spec.model.credentialsSecret names",
    Reason.PACKAGE_INDEX_UNTRUSTED: "put the certificate of its authority into a ConfigMap and set "
    "spec.dependencies.caConfigMap to it",
    Reason.INVALID_MODEL: "log the model with mlflow.<flavor>.log_model and use its URI",
    Reason.POLICY_DENIED: "log the model so that it meets the rule, or change spec.policy or the "
    "chart value policy",
    Reason.ACCESS_SECRET_INVALID: "correct the Secret that spec.access.apiKeysSecret names: write "
    "<name>:<API key> on each line, with at least 16 characters for the API key",
    Reason.MODEL_LOAD_FAILED: "to reproduce, load it with mlflow.pyfunc.load_model in the model's "
    "own environment; its requirements may lack a package or pin another version",
    Reason.INPUT_EXAMPLE_FAILED: "see the log of the container, or send the example with "
    "mlflow.models.predict; log the model again with an example that it answers, or change "
    "spec.rollout.gates.inputExample",
}
# Words of admission about a pod, and the field to change.
REJECTIONS = (
    ("violates PodSecurity", "change spec.pod, or the Pod Security Standard of the namespace"),
    ("usage per", "change spec.server.resources, or the namespace's LimitRange"),
    ("service account", "create it, or correct spec.pod.serviceAccountName"),
    ("PriorityClass", "create it, or correct spec.pod.priorityClassName"),
    ("RuntimeClass", "create it, or correct spec.gpu.runtimeClassName"),
)
REJECTED = "change spec.server, spec.pod or the namespace's policy"
# Pods keep the limits that they were created with.
NEXT_REVISION = "which applies to the next revision's pods"


def fix_for(error: ApplyError) -> str:
    """What to do about an object that the API server refused."""
    if "admission webhook" in error.message:
        return "Correct spec as the webhook requires, or change the webhook's policy"
    if error.status == 403 and "cannot" in error.message:
        return "Grant the operator's ServiceAccount this permission, as the Helm chart does"
    if error.status in (403, 404):
        return "Check that the namespace exists and is not terminating"
    return "Correct the field of spec that sets it"


def quota(message: str) -> str:
    """That a quota does not allow it, and what to change."""
    start = max(message.find("exceeded quota"), message.find("failed quota"))
    return (
        f"does not fit the namespace's quota ({single_line(message[start:])}): change "
        "spec.server.resources or spec.scaling, or raise the ResourceQuota"
    )


def fix_for_termination(message: str) -> str:
    """What to do about a pod that its node has ended, by the node's words."""
    full = re.search(r'EmptyDir volume "([^"]+)" exceeds the limit', message)
    if full is not None:
        field = f"spec.server.storage.{'model' if full[1] == 'model' else 'tmp'}"
        return f"raise {field} if the model needs more"
    return "set spec.server.resources to what the pod needs, or select other nodes in spec.pod"


def room(message: str) -> str:
    """How to make room for a pod that cannot be scheduled."""
    if "persistentvolumeclaim" in message.lower():
        return "create the PersistentVolumeClaim and its volume, or correct spec.pod.volumes"
    if "untolerated taint" in message and "Insufficient" not in message:
        return "add nodes without that taint, or a toleration to spec.pod.tolerations"
    return "add nodes, or request less in spec.server.resources, or select other nodes in spec.pod"
