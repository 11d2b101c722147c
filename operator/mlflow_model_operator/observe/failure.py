"""Why the pods of a revision are not ready: a chain of small checks, of which the first to find
something wins. Each says what is wrong and what to do, in terms of the fields that users write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.domain import KubeObject, Revision
from mlflow_model_operator.observe.situation import NAME_TAKEN, ApplyError, Situation

MOST_TEXT = 600  # characters of somebody else's message

# What our containers write into their termination message, with the fix that goes with it.
_TOLD_BY_CONTAINER = {
    "ArtifactUnreadable": "see that the storage has it and that spec.model.credentialsSecret "
    "gives access",
    "DependencyInstallFailed": "correct the model's requirements and log it anew, or give "
    "spec.dependencies an index that has the package",
    "InvalidModel": "log the model with mlflow.<flavor>.log_model and use that URI",
    "ModelLoadFailed": "load it with mlflow.pyfunc.load_model in the model's own environment to "
    "see the same; its requirements may lack a package or name another version",
}
_IMAGE_REASONS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
}
_KILLED = 137  # 128 + SIGKILL; what the kernel's out-of-memory killer leaves


@dataclass(frozen=True)
class Failure:
    """Why something does not work. `reason` becomes a condition's reason."""

    reason: str
    message: str


@dataclass(frozen=True)
class _Evidence:
    resource: MLflowModelDeployment
    revision: Revision
    deployment: KubeObject | None
    pods: list[KubeObject]
    apply_errors: list[ApplyError]


def explain(situation: Situation, revision: Revision) -> Failure | None:
    """The first failure that the checks find for `revision`; None while it is merely starting."""
    evidence = _Evidence(
        situation.resource,
        revision,
        situation.live.deployments.get(revision.name),
        situation.pods(revision),
        [error for error in situation.apply_errors if error.name == revision.name],
    )
    return next((failure for check in _CHECKS if (failure := check(evidence))), None)


def of_apply_error(error: ApplyError) -> Failure:
    """What a refused object means for the user."""
    what = f"{error.kind} {error.name}"
    if error.reason == NAME_TAKEN:
        return Failure(
            NAME_TAKEN,
            f"A {error.kind} called {error.name} exists that is not this resource's: delete it or "
            "name this resource differently",
        )
    if "exceeded quota" in error.message:
        return Failure("QuotaExceeded", f"{what} {_quota(error.message)}")
    return Failure(
        "ApplyRefused",
        f"The API server refuses {what}: {_short(error.message)}. Correct the field of spec that "
        "it comes from",
    )


def _apply_refused(evidence: _Evidence) -> Failure | None:
    return next((of_apply_error(error) for error in evidence.apply_errors), None)


def _pods_not_created(evidence: _Evidence) -> Failure | None:
    condition = _condition(evidence.deployment, "ReplicaFailure")
    if condition is None or condition.get("status") != "True":
        return None
    message = condition.get("message", "")
    if "exceeded quota" in message:
        return Failure("QuotaExceeded", f"A pod of {evidence.revision.name} {_quota(message)}")
    return Failure(
        "PodRejected",
        f"Kubernetes refuses a pod of {evidence.revision.name}: {_short(message)}. Change what "
        "spec.server, spec.pod or the namespace's policy asks for",
    )


def _quota(message: str) -> str:
    detail = message[message.find("exceeded quota") :]
    return (
        f"does not fit into the namespace's quota ({_short(detail)}): ask for less in "
        "spec.server.resources or spec.scaling, or have the ResourceQuota raised"
    )


def _unschedulable(evidence: _Evidence) -> Failure | None:
    for pod in evidence.pods:
        condition = _condition(pod, "PodScheduled")
        if condition is None or condition.get("status") != "False":
            continue
        if condition.get("reason") == "SchedulingGated":
            continue
        message = _short(condition.get("message", ""))
        gpu = evidence.resource.spec.gpu
        if gpu and (f"Insufficient {gpu.resource}" in message or "didn't match" in message):
            wanted = ", ".join(f"{k}={v}" for k, v in gpu.node_selector.items())
            return Failure(
                "NoGpuNode",
                f"No node has {gpu.count} free {gpu.resource}"
                f"{' and the labels ' + wanted if wanted else ''} ({message}): add such a node, or "
                "change spec.gpu",
            )
        return Failure(
            "Unschedulable",
            f"No node takes pod {_name(pod)} ({message}): add nodes, or ask for less in "
            "spec.server.resources or for other nodes in spec.pod",
        )
    return None


def _image_not_pulled(evidence: _Evidence) -> Failure | None:
    for pod, container in _containers(evidence):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in _IMAGE_REASONS:
            image = container.get("image", "")
            where = (
                "correct spec.server.image, or add spec.pod.imagePullSecrets"
                if evidence.resource.spec.server.image
                else "correct the operator's scoringImages (chart value), or add "
                "spec.pod.imagePullSecrets"
            )
            return Failure(
                "ImagePullFailed",
                f"The image {image} of pod {_name(pod)} can't be pulled "
                f"({_short(waiting.get('message') or waiting['reason'])}): {where}",
            )
    return None


def _config_missing(evidence: _Evidence) -> Failure | None:
    for pod, container in _containers(evidence):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("CreateContainerConfigError", "CreateContainerError"):
            return Failure(
                "ConfigMissing",
                f"Pod {_name(pod)} can't start: {_short(waiting.get('message', ''))}. Create what "
                "is missing, or correct spec.model.credentialsSecret, spec.server.env or "
                "spec.dependencies",
            )
    return None


def _out_of_memory(evidence: _Evidence) -> Failure | None:
    for pod, container in _containers(evidence):
        ended = _ended(container)
        if ended.get("reason") == "OOMKilled":
            limit = evidence.resource.spec.server.resources.limits.get("memory", "none")
            return Failure(
                "OutOfMemory",
                f"Container {container['name']} of pod {_name(pod)} was killed for using more "
                f"memory than its limit ({limit}): raise spec.server.resources.limits.memory",
            )
    return None


def _told_by_container(evidence: _Evidence) -> Failure | None:
    for _, container in _containers(evidence):
        ended = _ended(container)
        told = _termination_message(ended.get("message"))
        if told and told[0] in _TOLD_BY_CONTAINER:
            reason, message = told
            return Failure(reason, f"{message.rstrip('. ')}: {_TOLD_BY_CONTAINER[reason]}")
    return None


def _crashed(evidence: _Evidence) -> Failure | None:
    for pod, container in _containers(evidence):
        ended = _ended(container)
        if not ended or ended.get("exitCode") == 0:
            continue
        code = ended.get("exitCode")
        last = _last_line(ended.get("message", ""))
        killed = " (killed; perhaps by its liveness probe)" if code == _KILLED else ""
        return Failure(
            "ContainerCrashed",
            f"Container {container['name']} of pod {_name(pod)} ended with exit code {code}"
            f"{killed}{': ' + last if last else ''}. `kubectl logs {_name(pod)} -c "
            f"{container['name']} --previous` shows more",
        )
    return None


def _too_slow(evidence: _Evidence) -> Failure | None:
    condition = _condition(evidence.deployment, "Progressing")
    if condition is None or condition.get("reason") != "ProgressDeadlineExceeded":
        return None
    timeout = evidence.resource.spec.server.startup_timeout
    return Failure(
        "StartupTimeout",
        f"The pods of {evidence.revision.name} did not get ready within {timeout}: raise "
        "spec.server.startupTimeout if the model needs longer to load",
    )


_CHECKS: tuple[Callable[[_Evidence], Failure | None], ...] = (
    _apply_refused,
    _pods_not_created,
    _unschedulable,
    _image_not_pulled,
    _config_missing,
    _out_of_memory,
    _told_by_container,
    _crashed,
    _too_slow,
)


def _containers(evidence: _Evidence) -> Iterator[tuple[KubeObject, KubeObject]]:
    """All containers that are not ready, init containers first, of the newest pods first."""
    for pod in evidence.pods:
        status = pod.get("status", {})
        for container in status.get("initContainerStatuses", ()):
            if container.get("state", {}).get("terminated", {}).get("exitCode") != 0:
                yield pod, container
        for container in status.get("containerStatuses", ()):
            if not container.get("ready"):
                yield pod, container


def _ended(container: KubeObject) -> KubeObject:
    """How the container ended last, also while it waits for, or tries, its next start.

    Else the reason would come and go with each restart.
    """
    state = container.get("state", {}).get("terminated")
    return state or container.get("lastState", {}).get("terminated") or {}


def _termination_message(text: Any) -> tuple[str, str] | None:
    """Reason and message that one of our containers left; what comes from a pod may be anything."""
    if not isinstance(text, str):
        return None
    try:
        told = json.loads(text)
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    reason, message = told.get("reason"), told.get("message")
    if not isinstance(reason, str) or not isinstance(message, str):
        return None
    return reason, _short(message)


def _condition(obj: KubeObject | None, type_: str) -> KubeObject | None:
    conditions: list[KubeObject] = (obj or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if one.get("type") == type_), None)


def _short(text: str) -> str:
    """One line of bounded length."""
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= MOST_TEXT else line[: MOST_TEXT - 1] + "…"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return _short(lines[-1]) if lines else ""


def _name(pod: KubeObject) -> str:
    return str(pod["metadata"]["name"])
