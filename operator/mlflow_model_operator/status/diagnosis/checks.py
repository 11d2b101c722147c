"""Why the pods of a revision are not ready: a chain of small checks, of which the first to find
something wins. Each says what is wrong and what to do, in terms of the fields that users write.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.diagnosis.facts import (
    Container,
    Evidence,
    epoch,
    find_condition,
    is_dead,
    least_until_probe_kills,
    named_config,
    pod_name,
    ran_for,
    startup_seconds,
    unready_containers,
    waited_for_volumes,
)
from mlflow_model_operator.status.diagnosis.fixes import (
    CONTAINER_FIXES,
    REJECTED,
    REJECTIONS,
    fix_for,
    quota,
    room,
)
from mlflow_model_operator.status.snapshot import ApplyFailure, NameTaken, Snapshot
from mlflow_model_operator.status.text import (
    last_line,
    pull_message,
    scheduler_message,
    termination_message,
    without_pod_name,
)

# How long volumes and network of a pod may take before what they need is said to be missing.
VOLUME_PATIENCE = 30.0  # seconds

_IMAGE_REASONS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_KILLED = 137  # 128 + SIGKILL: the kernel when memory runs out, the kubelet after failing probes
_TERMINATED = 143  # 128 + SIGTERM: the kubelet after failing probes


@dataclass(frozen=True)
class Failure:
    """Why something does not work. `reason` becomes a condition's reason."""

    reason: Reason
    message: str


def diagnose(snapshot: Snapshot, revision: Revision) -> Failure | None:
    """The first failure that the checks find for `revision`; None while it is merely starting."""
    pods = snapshot.pods(revision)
    living = [pod for pod in pods if not is_dead(pod)]
    evidence = Evidence(
        resource=snapshot.resource,
        revision=revision,
        deployment=snapshot.live.deployments.get(revision.name),
        pods=living,
        dead_pods=[pod for pod in pods if is_dead(pod)],
        containers=[container for pod in living for container in unready_containers(pod)],
        apply_errors=[error for error in snapshot.apply_errors if error.name == revision.name],
        now=snapshot.now,
    )
    return next((failure for check in _CHECKS if (failure := check(evidence))), None)


def requeue_after(snapshot: Snapshot) -> float | None:
    """The seconds after which time alone changes what `diagnose` says; None if it does not.

    Kubernetes sends no event while a pod waits for a volume whose ConfigMap is not there.
    """
    if not named_config(snapshot.resource):
        return None
    waits = [
        max(VOLUME_PATIENCE - waited, 1.0)
        for pod in snapshot.live.pods.values()
        if (waited := waited_for_volumes(pod, snapshot.now)) is not None
        and waited <= VOLUME_PATIENCE
    ]
    return min(waits, default=None)


def of_apply_error(error: ApplyFailure) -> Failure:
    """What a refused object means for the user."""
    what = f"{error.kind} {error.name}"
    if isinstance(error, NameTaken):
        return Failure(
            Reason.NAME_TAKEN,
            f"A {error.kind} called {error.name} exists that is not this resource's: delete it or "
            "name this resource differently",
        )
    if _is_quota(error.message):
        return Failure(Reason.QUOTA_EXCEEDED, f"{what} {quota(error.message)}")
    return Failure(
        Reason.APPLY_REFUSED,
        f"The API server refuses {what}: {single_line(error.message).rstrip('.')}. {fix_for(error)}",
    )


def _apply_refused(evidence: Evidence) -> Failure | None:
    return next((of_apply_error(error) for error in evidence.apply_errors), None)


def _pods_not_created(evidence: Evidence) -> Failure | None:
    condition = find_condition(evidence.deployment, "ReplicaFailure")
    if condition is None or condition.get("status") != "True":
        return None
    message = without_pod_name(condition.get("message"))
    if _is_quota(message):
        return Failure(Reason.QUOTA_EXCEEDED, f"A pod of {evidence.revision.name} {quota(message)}")
    fix = next((fix for words, fix in REJECTIONS if words in message), REJECTED)
    return Failure(
        Reason.POD_REJECTED,
        f"Kubernetes refuses a pod of {evidence.revision.name}: {message}: {fix}",
    )


def _is_quota(message: str) -> bool:
    # "failed quota: small: must specify limits.cpu": the quota wants a value that nobody wrote.
    return "exceeded quota" in message or "failed quota" in message


def _unschedulable(evidence: Evidence) -> Failure | None:
    for pod in evidence.pods:
        condition = find_condition(pod, "PodScheduled")
        if condition is None or condition.get("status") != "False":
            continue
        if condition.get("reason") == "SchedulingGated":
            continue
        message = scheduler_message(condition.get("message"))
        return _no_gpu_node(evidence, message) or Failure(
            Reason.UNSCHEDULABLE,
            f"No node takes pod {pod_name(pod)} ({message}): {room(message)}",
        )
    return None


def _no_gpu_node(evidence: Evidence, message: str) -> Failure | None:
    """Where nodes lack the GPU itself, or the labels that spec.gpu asks for."""
    gpu = evidence.resource.spec.gpu
    if gpu is None:
        return None
    lacking = re.search(rf"Insufficient {re.escape(gpu.resource)}(,|$)", message)
    other_labels = gpu.node_selector and "didn't match Pod's node affinity/selector" in message
    if not lacking and not other_labels:
        return None
    wanted = ", ".join(f"{k}={v}" for k, v in gpu.node_selector.items())
    return Failure(
        Reason.NO_GPU_NODE,
        f"No node has {gpu.count} free {gpu.resource}"
        f"{' and the labels ' + wanted if wanted else ''} ({message}): add such a node, or change "
        "spec.gpu",
    )


def _image_not_pulled(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.waiting.get("reason") not in _IMAGE_REASONS:
            continue
        where = (
            "correct spec.server.image, or add spec.pod.imagePullSecrets"
            if evidence.resource.spec.server.image
            else "correct the operator's scoringImages (chart value), or add "
            "spec.pod.imagePullSecrets"
        )
        why = pull_message(container.waiting.get("message")) or container.waiting["reason"]
        return Failure(
            Reason.IMAGE_PULL_FAILED,
            f"The image {container.image} of pod {container.pod} can't be pulled ({why}): {where}",
        )
    return None


def _config_missing(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.waiting.get("reason") == "CreateContainerConfigError":
            return Failure(
                Reason.CONFIG_MISSING,
                f"Pod {container.pod} can't start: {single_line(container.waiting.get('message'))}. "
                "Create what is missing, or correct spec.model.credentialsSecret, spec.server.env "
                "or spec.dependencies",
            )
    return None


def _volume_missing(evidence: Evidence) -> Failure | None:
    """A pod waits without a word for a volume whose Secret or ConfigMap is not there."""
    named = named_config(evidence.resource)
    for pod in evidence.pods:
        waited = waited_for_volumes(pod, evidence.now)
        if named and waited is not None and waited > VOLUME_PATIENCE:
            return Failure(
                Reason.CONFIG_MISSING,
                f"Pod {pod_name(pod)} waits for its volumes: see that {' and '.join(named)} exist "
                f"in namespace {evidence.resource.namespace}; `kubectl describe pod "
                f"{pod_name(pod)}` shows more",
            )
    return None


def _out_of_memory(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.ended.get("reason") == "OOMKilled":
            what = "was killed for using more memory than its limit"
        elif _died_like_out_of_memory(container, evidence.resource):
            what = "was killed (exit code 137), as happens when memory goes beyond the limit"
        else:
            continue
        limit = evidence.resource.spec.server.resources.limits.get("memory", "none")
        return Failure(
            Reason.OUT_OF_MEMORY,
            f"{container} {what} ({limit}): raise spec.server.resources.limits.memory",
        )
    return None


def _died_like_out_of_memory(container: Container, resource: MLflowModelDeployment) -> bool:
    """Killed, and not by a probe: those kill only what has run for as long as it may start.

    Container runtimes do not always tell that memory was the reason.
    """
    ended = container.ended
    if ended.get("exitCode") != _KILLED or ended.get("reason") != "Error":
        return False
    ran = ran_for(ended)
    return container.is_init or (ran is not None and ran < least_until_probe_kills(resource))


def _reported_by_container(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        report = termination_message(container.ended.get("message"))
        if report and report.reason in CONTAINER_FIXES:
            reason = Reason(report.reason)
            message = report.message.rstrip(". ")
            return Failure(reason, f"{container}: {message}: {CONTAINER_FIXES[reason]}")
    return None


def _killed_by_startup_probe(evidence: Evidence) -> Failure | None:
    """The kubelet ends a server that has not answered within the startup timeout."""
    least = least_until_probe_kills(evidence.resource)
    # Being told to end, it may take its time to finish requests.
    most = least + 2 * quantity.seconds(evidence.resource.spec.routing.timeout) + 60
    for container in evidence.containers:
        ran = ran_for(container.ended)
        ended_by_signal = container.ended.get("exitCode") in (0, _KILLED, _TERMINATED)
        if not container.is_init and ended_by_signal and ran is not None and least <= ran <= most:
            return _startup_timeout(evidence, f"{container} did not answer")
    return None


def _crashed(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        code = container.ended.get("exitCode")
        if code is None or (code == 0 and container.is_init):
            continue
        told = termination_message(container.ended.get("message"))
        last = told.message if told else last_line(container.ended.get("message"))
        by_signal = code == _KILLED and container.ended.get("reason") == "Error"
        killed = " (killed; perhaps by its liveness probe)" if by_signal else ""
        return Failure(
            Reason.CONTAINER_CRASHED,
            f"{container} ended with exit code {code}{killed}{': ' + last if last else ''}. "
            f"`kubectl logs {container.pod} -c {container.name} --previous` shows more",
        )
    return None


def _not_created(evidence: Evidence) -> Failure | None:
    """The container runtime can't make or start the container: no such program, a bad mount."""
    for container in evidence.containers:
        if container.waiting.get("reason") in ("CreateContainerError", "RunContainerError"):
            return Failure(
                Reason.CONTAINER_CRASHED,
                f"{container} can't be started: {single_line(container.waiting.get('message'))}. See "
                "that spec.server.image has an entrypoint and that spec.pod.volumeMounts fit it",
            )
    return None


def _ended_by_node(evidence: Evidence) -> Failure | None:
    """A node gave the pod up: it ran out of something, or its device plugin refused the pod.

    Such pods stay in the list for long, so only those of the present attempt count.
    """
    for pod in evidence.dead_pods:
        status = pod["status"]
        created = epoch(pod["metadata"].get("creationTimestamp"))
        recent = created is not None and evidence.now - created < startup_seconds(evidence.resource)
        if recent and status.get("reason"):
            why = single_line(status.get("message")).rstrip(". ") or "no message"
            return Failure(
                Reason.POD_REJECTED,
                f"The node gave up pod {pod_name(pod)} ({status['reason']}: {why}): change "
                "spec.server.resources to what the pod needs, or spec.pod to get other nodes",
            )
    return None


def _too_slow(evidence: Evidence) -> Failure | None:
    condition = find_condition(evidence.deployment, "Progressing")
    if condition is None or condition.get("reason") != "ProgressDeadlineExceeded":
        return None
    return _startup_timeout(evidence, f"The pods of {evidence.revision.name} did not get ready")


def _startup_timeout(evidence: Evidence, what: str) -> Failure:
    timeout = evidence.resource.spec.server.startup_timeout
    return Failure(
        Reason.STARTUP_TIMEOUT,
        f"{what} within {timeout}: raise spec.server.startupTimeout if the model needs longer to "
        "load",
    )


_CHECKS: tuple[Callable[[Evidence], Failure | None], ...] = (
    _apply_refused,
    _pods_not_created,
    _unschedulable,
    _image_not_pulled,
    _config_missing,
    _volume_missing,
    _out_of_memory,
    _reported_by_container,
    _killed_by_startup_probe,
    _crashed,
    _not_created,
    _ended_by_node,
    _too_slow,
)
