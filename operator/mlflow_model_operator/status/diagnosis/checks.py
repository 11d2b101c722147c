"""Why the pods of a revision are not ready: a chain of small checks, the first failure wins.

Each says what is wrong and what to do, in terms of the fields that users write.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_model_operator.api import names, quantity
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.kube.kinds import NETWORK_POLICY
from mlflow_model_operator.kube.objects import (
    created_at,
    find_condition,
    is_true,
    labels_of,
    name_of,
    status_of,
)
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.diagnosis.facts import (
    Container,
    Evidence,
    has_ended,
    run_seconds,
    unready_containers,
    volume_wait,
)
from mlflow_model_operator.status.diagnosis.fixes import (
    CONTAINER_FIXES,
    NEXT_REVISION,
    REJECTED,
    REJECTIONS,
    fix_for,
    fix_for_termination,
    quota,
    room,
)
from mlflow_model_operator.status.diagnosis.limits import PROBE_TOLERANCE, limits_of
from mlflow_model_operator.status.snapshot import ApplyFailure, NameConflict, Snapshot
from mlflow_model_operator.status.text import (
    last_line,
    pull_message,
    scheduler_message,
    termination_message,
    without_pod_name,
)

# How long volumes and network of a pod may take before what they need is reported as missing.
VOLUME_TIMEOUT = 30.0  # seconds

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
    living = [pod for pod in pods if not has_ended(pod)]
    deployment = snapshot.live.deployments.get(revision.name)
    evidence = Evidence(
        resource=snapshot.resource,
        revision=revision,
        deployment=deployment,
        limits=limits_of(deployment, snapshot.resource),
        pods=living,
        ended_pods=[pod for pod in pods if has_ended(pod)],
        containers=[container for pod in living for container in unready_containers(pod)],
        apply_errors=[
            error
            for error in snapshot.apply_errors
            # No pod is made before its NetworkPolicy guards it.
            if error.name == revision.name or error.kind == NETWORK_POLICY.kind
        ],
        now=snapshot.now,
    )
    return next((failure for check in _CHECKS if (failure := check(evidence))), None)


def requeue_after(snapshot: Snapshot) -> float | None:
    """The seconds after which time alone changes what `diagnose` says; None if it does not.

    Kubernetes sends no event while a pod waits for a volume whose ConfigMap does not exist.
    """
    waits = []
    for pod in snapshot.live.pods.values():
        wait = volume_wait(pod, snapshot.now)
        deployment = snapshot.live.deployments.get(labels_of(pod).get(names.REVISION, ""))
        if wait is None or wait > VOLUME_TIMEOUT:
            continue
        if limits_of(deployment, snapshot.resource).required_config:
            waits.append(max(VOLUME_TIMEOUT - wait, 1.0))
    return min(waits, default=None)


def diagnose_apply_failure(error: ApplyFailure) -> Failure:
    """Why an object could not be applied, and what to do."""
    subject = f"{error.kind} {error.name}"
    if isinstance(error, NameConflict):
        return Failure(
            Reason.NAME_TAKEN,
            f"{subject} already exists and does not belong to this resource: delete it or name "
            "this resource differently",
        )
    if _is_quota(error.message):
        return Failure(Reason.QUOTA_EXCEEDED, f"{subject} {quota(error.message)}")
    message = single_line(error.message).rstrip(".")
    return Failure(
        Reason.APPLY_REFUSED, f"The API server refused {subject}: {message}. {fix_for(error)}"
    )


def _apply_refused(evidence: Evidence) -> Failure | None:
    return next((diagnose_apply_failure(error) for error in evidence.apply_errors), None)


def _pods_not_created(evidence: Evidence) -> Failure | None:
    condition = find_condition(evidence.deployment, "ReplicaFailure")
    if condition is None or not is_true(condition):
        return None
    message = without_pod_name(condition.get("message"))
    if _is_quota(message):
        return Failure(Reason.QUOTA_EXCEEDED, f"A pod of {evidence.revision.name} {quota(message)}")
    fix = next((fix for words, fix in REJECTIONS if words in message), REJECTED)
    return Failure(
        Reason.POD_REJECTED,
        f"Kubernetes refuses to create a pod of {evidence.revision.name}: {message}: {fix}",
    )


def _is_quota(message: str) -> bool:
    # "failed quota: small: must specify limits.cpu": the quota requires a value that is not set.
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
            f"Pod {name_of(pod)} cannot be scheduled ({message}): {room(message)}",
        )
    return None


def _no_gpu_node(evidence: Evidence, message: str) -> Failure | None:
    """Where nodes lack the GPU itself, or the labels that spec.gpu asks for."""
    gpu = evidence.resource.spec.gpu
    if gpu is None:
        return None
    is_lacking = re.search(rf"Insufficient {re.escape(gpu.resource)}(,|$)", message)
    other_labels = gpu.node_selector and "didn't match Pod's node affinity/selector" in message
    if not is_lacking and not other_labels:
        return None
    count = evidence.limits.resources.get(gpu.resource, gpu.count)
    labels = ", ".join(f"{key}={value}" for key, value in gpu.node_selector.items())
    return Failure(
        Reason.NO_GPU_NODE,
        f"No node has {count} free {gpu.resource}{' and the labels ' + labels if labels else ''} "
        f"({message}): add such a node, or change spec.gpu",
    )


def _image_not_pulled(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.waiting.get("reason") not in _IMAGE_REASONS:
            continue
        field = (
            "spec.server.image"
            if evidence.resource.spec.server.image
            else "the chart value scoringImages"
        )
        cause = pull_message(container.waiting.get("message")) or container.waiting["reason"]
        return Failure(
            Reason.IMAGE_PULL_FAILED,
            f"Image {container.image} of pod {container.pod} could not be pulled ({cause}): "
            f"correct {field}, or add spec.pod.imagePullSecrets",
        )
    return None


def _config_missing(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.waiting.get("reason") == "CreateContainerConfigError":
            return Failure(
                Reason.CONFIG_MISSING,
                f"Pod {container.pod} cannot start: {_waiting_message(container)}. Create it, or "
                "correct spec.model.credentialsSecret, spec.server.env or spec.dependencies",
            )
    return None


def _waiting_message(container: Container) -> str:
    return single_line(container.waiting.get("message"))


def _volume_missing(evidence: Evidence) -> Failure | None:
    """A pod silently waits for a volume whose Secret or ConfigMap, or its key, does not exist."""
    required = evidence.limits.required_config
    for pod in evidence.pods:
        wait = volume_wait(pod, evidence.now)
        if required and wait is not None and wait > VOLUME_TIMEOUT:
            is_access = evidence.limits.requires_access_secret_alone
            return Failure(
                Reason.ACCESS_SECRET_MISSING if is_access else Reason.CONFIG_MISSING,
                f"Pod {name_of(pod)} is waiting for its volumes: check that "
                f"{' and '.join(required)} exist in namespace {evidence.resource.namespace}; see "
                f"`kubectl describe pod {name_of(pod)}`",
            )
    return None


def _out_of_memory(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.ended.get("reason") == "OOMKilled":
            event = "was killed for exceeding its memory limit"
        elif _is_probably_out_of_memory(container, evidence):
            event = "was killed (exit code 137), probably for exceeding its memory limit"
        else:
            continue
        return Failure(Reason.OUT_OF_MEMORY, f"{container} {event} {_memory_fix(evidence)}")
    return None


def _is_probably_out_of_memory(container: Container, evidence: Evidence) -> bool:
    """Killed, and not by a probe: those kill only a container that has had its time to start.

    Container runtimes do not always report that memory was the reason.
    """
    ended = container.ended
    if ended.get("exitCode") != _KILLED or ended.get("reason") != "Error":
        return False
    seconds = run_seconds(ended)
    return container.is_init or (
        seconds is not None and seconds < evidence.limits.shortest_probe_kill
    )


def _memory_fix(evidence: Evidence) -> str:
    field = "spec.server.resources.limits.memory"
    limit = evidence.limits.resources.get("memory", "none")
    present = evidence.resource.spec.server.resources.limits.get("memory", "none")
    if quantity.equal(limit, present):
        return f"({limit}): raise {field}"
    return f"({limit}): {field} is {present} now, {NEXT_REVISION}"


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
    shortest, longest = evidence.limits.shortest_probe_kill, evidence.limits.longest_probe_kill
    for container in evidence.containers:
        seconds = run_seconds(container.ended)
        by_signal = container.ended.get("exitCode") in (0, _KILLED, _TERMINATED)
        if container.is_init or not by_signal or seconds is None:
            continue
        if shortest <= seconds <= longest:
            return _startup_timeout(evidence, f"{container} did not answer")
    return None


def _crashed(evidence: Evidence) -> Failure | None:
    for container in evidence.containers:
        code = container.ended.get("exitCode")
        if code is None or (code == 0 and container.is_init):
            continue
        report = termination_message(container.ended.get("message"))
        last = report.message if report else last_line(container.ended.get("message"))
        by_signal = code == _KILLED and container.ended.get("reason") == "Error"
        killed = " (killed, possibly by its liveness probe)" if by_signal else ""
        return Failure(
            Reason.CONTAINER_CRASHED,
            f"{container} terminated with exit code {code}{killed}{': ' + last if last else ''}. "
            f"See `kubectl logs {container.pod} -c {container.name} --previous`",
        )
    return None


def _not_created(evidence: Evidence) -> Failure | None:
    """The container runtime can't create or start it: no such program, a wrong mount."""
    for container in evidence.containers:
        if container.waiting.get("reason") in ("CreateContainerError", "RunContainerError"):
            return Failure(
                Reason.CONTAINER_CRASHED,
                f"{container} could not be started: {_waiting_message(container)}. Check that "
                "spec.server.image has an entrypoint and that spec.pod.volumeMounts match it",
            )
    return None


def _terminated_by_node(evidence: Evidence) -> Failure | None:
    """A node has terminated the pod: it ran out of something, or its device plugin refused the pod.

    Such pods stay in the list for long, so only those of the present attempt count.
    """
    for pod in evidence.ended_pods:
        status, created = status_of(pod), created_at(pod)
        is_recent = created is not None and (
            evidence.now - created < evidence.limits.startup_timeout
        )
        if is_recent and status.get("reason"):
            cause = single_line(status.get("message")).rstrip(". ") or "no message"
            return Failure(
                Reason.POD_REJECTED,
                f"Pod {name_of(pod)} was terminated by its node ({status['reason']}: {cause}): "
                f"{fix_for_termination(cause)}",
            )
    return None


def _deadline_exceeded(evidence: Evidence) -> Failure | None:
    condition = find_condition(evidence.deployment, "Progressing")
    if condition is None or condition.get("reason") != "ProgressDeadlineExceeded":
        return None
    return _startup_timeout(evidence, f"Pods of {evidence.revision.name} did not become ready")


def _startup_timeout(evidence: Evidence, subject: str) -> Failure:
    server = evidence.resource.spec.server
    timeout = evidence.limits.startup_timeout
    field, present = "spec.server.startupTimeout", server.startup_timeout
    if abs(timeout - server.startup_seconds) < PROBE_TOLERANCE:
        fix = f"within {present}: raise {field} if the model needs longer to load"
    else:
        written = quantity.format_seconds(timeout)
        fix = f"within {written}: {field} is {present} now, {NEXT_REVISION}"
    return Failure(Reason.STARTUP_TIMEOUT, f"{subject} {fix}")


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
    _terminated_by_node,
    _deadline_exceeded,
)
