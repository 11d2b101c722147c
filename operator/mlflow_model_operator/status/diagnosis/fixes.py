"""What to do about a failure, in terms of the fields that users write."""

from __future__ import annotations

from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.status.snapshot import ApplyError

# What our containers write into their termination message, with the fix that goes with it.
CONTAINER_FIXES: dict[Reason, str] = {
    Reason.ARTIFACT_UNREADABLE: "see that the storage has it and that "
    "spec.model.credentialsSecret gives access",
    Reason.DEPENDENCY_INSTALL_FAILED: "correct the model's requirements and log it anew, or give "
    "spec.dependencies an index that has the package",
    Reason.INVALID_MODEL: "log the model with mlflow.<flavor>.log_model and use that URI",
    Reason.MODEL_LOAD_FAILED: "load it with mlflow.pyfunc.load_model in the model's own "
    "environment to see the same; its requirements may lack a package or name another version",
}
# What admission says of a pod, and the field to change.
REJECTIONS = (
    ("violates PodSecurity", "change spec.pod, or the Pod Security Standard of the namespace"),
    ("usage per", "change spec.server.resources, or the namespace's LimitRange"),
    ("service account", "create it, or correct spec.pod.serviceAccountName"),
    ("PriorityClass", "create it, or correct spec.pod.priorityClassName"),
    ("RuntimeClass", "create it, or correct spec.gpu.runtimeClassName"),
)
REJECTED = "change what spec.server, spec.pod or the namespace's policy asks for"


def fix_for(error: ApplyError) -> str:
    """What to do about an object that the API server refuses."""
    if "admission webhook" in error.message:
        return "Correct what the webhook names, in spec or in its policy"
    if error.status == 403 and "cannot" in error.message:
        return "Give the operator's ServiceAccount this right, as the Helm chart does"
    if error.status in (403, 404):
        return "See that the namespace is there and is not being deleted"
    return "Correct the field of spec that it comes from"


def quota(message: str) -> str:
    """That a quota is in the way, and what to change."""
    start = max(message.find("exceeded quota"), message.find("failed quota"))
    return (
        f"does not fit into the namespace's quota ({single_line(message[start:])}): change "
        "spec.server.resources or spec.scaling, or have the ResourceQuota raised"
    )


def room(message: str) -> str:
    """How to make room for a pod that no node takes."""
    if "persistentvolumeclaim" in message.lower():
        return "create the PersistentVolumeClaim and its volume, or correct spec.pod.volumes"
    if "untolerated taint" in message and "Insufficient" not in message:
        return "add nodes without that taint, or a toleration to spec.pod.tolerations"
    return "add nodes, or ask for less in spec.server.resources or for other nodes in spec.pod"
