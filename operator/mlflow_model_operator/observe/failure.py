"""Why the pods of a revision are not ready: a chain of small checks, of which the first to find
something wins. Each says what is wrong and what to do, in terms of the fields that users write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.domain import KubeObject, Revision
from mlflow_model_operator.observe.reasons import Reason
from mlflow_model_operator.observe.situation import NAME_TAKEN, ApplyError, Situation
from mlflow_model_operator.observe.text import (
    last_line,
    one_line,
    pull_message,
    scheduler_message,
    termination_message,
    without_pod_name,
)

# How long volumes and network of a pod may take before what they need is said to be missing.
VOLUME_PATIENCE = 30.0  # seconds

# What our containers write into their termination message, with the fix that goes with it.
_TOLD_BY_CONTAINER: dict[str, str] = {
    Reason.ARTIFACT_UNREADABLE: "see that the storage has it and that "
    "spec.model.credentialsSecret gives access",
    Reason.DEPENDENCY_INSTALL_FAILED: "correct the model's requirements and log it anew, or give "
    "spec.dependencies an index that has the package",
    Reason.INVALID_MODEL: "log the model with mlflow.<flavor>.log_model and use that URI",
    Reason.MODEL_LOAD_FAILED: "load it with mlflow.pyfunc.load_model in the model's own "
    "environment to see the same; its requirements may lack a package or name another version",
}
_IMAGE_REASONS = {
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
# What admission says of a pod, and the field to change.
_REJECTIONS = (
    ("violates PodSecurity", "change spec.pod, or the Pod Security Standard of the namespace"),
    ("usage per", "change spec.server.resources, or the namespace's LimitRange"),
    ("service account", "create it, or correct spec.pod.serviceAccountName"),
    ("PriorityClass", "create it, or correct spec.pod.priorityClassName"),
    ("RuntimeClass", "create it, or correct spec.gpu.runtimeClassName"),
)
_REJECTED = "change what spec.server, spec.pod or the namespace's policy asks for"
_KILLED = 137  # 128 + SIGKILL: the kernel when memory runs out, the kubelet after failing probes
_TERMINATED = 143  # 128 + SIGTERM: the kubelet after failing probes


@dataclass(frozen=True)
class Failure:
    """Why something does not work. `reason` becomes a condition's reason."""

    reason: str
    message: str


@dataclass(frozen=True)
class _Container:
    """A container that is not ready."""

    pod: str
    name: str
    image: str
    is_init: bool
    waiting: KubeObject
    # How it ended last, also while it waits for, or tries, its next start: else the reason would
    # come and go with each restart. {} if it has not ended yet.
    ended: KubeObject

    def __str__(self) -> str:
        return f"Container {self.name} of pod {self.pod}"


@dataclass(frozen=True)
class _Evidence:
    resource: MLflowModelDeployment
    revision: Revision
    deployment: KubeObject | None
    pods: list[KubeObject]  # those that live, newest first
    dead_pods: list[KubeObject]  # those that a node has given up, newest first
    containers: list[_Container]
    apply_errors: list[ApplyError]
    now: float


def explain(situation: Situation, revision: Revision) -> Failure | None:
    """The first failure that the checks find for `revision`; None while it is merely starting."""
    pods = situation.pods(revision)
    living = [pod for pod in pods if not _is_dead(pod)]
    evidence = _Evidence(
        resource=situation.resource,
        revision=revision,
        deployment=situation.live.deployments.get(revision.name),
        pods=living,
        dead_pods=[pod for pod in pods if _is_dead(pod)],
        containers=[container for pod in living for container in _unready_containers(pod)],
        apply_errors=[error for error in situation.apply_errors if error.name == revision.name],
        now=situation.now,
    )
    return next((failure for check in _CHECKS if (failure := check(evidence))), None)


def recheck_after(situation: Situation) -> float | None:
    """The seconds after which time alone changes what `explain` says; None if it does not.

    Kubernetes sends no event while a pod waits for a volume whose ConfigMap is not there.
    """
    if not _named_config(situation.resource):
        return None
    waits = [
        max(VOLUME_PATIENCE - waited, 1.0)
        for pod in situation.live.pods.values()
        if (waited := _waited_for_volumes(pod, situation.now)) is not None
        and waited <= VOLUME_PATIENCE
    ]
    return min(waits, default=None)


def of_apply_error(error: ApplyError) -> Failure:
    """What a refused object means for the user."""
    what = f"{error.kind} {error.name}"
    if error.reason == NAME_TAKEN:
        return Failure(
            Reason.NAME_TAKEN,
            f"A {error.kind} called {error.name} exists that is not this resource's: delete it or "
            "name this resource differently",
        )
    if _is_quota(error.message):
        return Failure(Reason.QUOTA_EXCEEDED, f"{what} {_quota(error.message)}")
    return Failure(
        Reason.APPLY_REFUSED,
        f"The API server refuses {what}: {one_line(error.message).rstrip('.')}. {_remedy(error)}",
    )


def _remedy(error: ApplyError) -> str:
    if "admission webhook" in error.message:
        return "Correct what the webhook names, in spec or in its policy"
    if error.status == 403 and "cannot" in error.message:
        return "Give the operator's ServiceAccount this right, as the Helm chart does"
    if error.status in (403, 404):
        return "See that the namespace is there and is not being deleted"
    return "Correct the field of spec that it comes from"


def _apply_refused(evidence: _Evidence) -> Failure | None:
    return next((of_apply_error(error) for error in evidence.apply_errors), None)


def _pods_not_created(evidence: _Evidence) -> Failure | None:
    condition = _condition(evidence.deployment, "ReplicaFailure")
    if condition is None or condition.get("status") != "True":
        return None
    message = without_pod_name(condition.get("message"))
    if _is_quota(message):
        return Failure(
            Reason.QUOTA_EXCEEDED, f"A pod of {evidence.revision.name} {_quota(message)}"
        )
    fix = next((fix for words, fix in _REJECTIONS if words in message), _REJECTED)
    return Failure(
        Reason.POD_REJECTED,
        f"Kubernetes refuses a pod of {evidence.revision.name}: {message}: {fix}",
    )


def _is_quota(message: str) -> bool:
    # "failed quota: small: must specify limits.cpu": the quota wants a value that nobody wrote.
    return "exceeded quota" in message or "failed quota" in message


def _quota(message: str) -> str:
    start = max(message.find("exceeded quota"), message.find("failed quota"))
    return (
        f"does not fit into the namespace's quota ({one_line(message[start:])}): change "
        "spec.server.resources or spec.scaling, or have the ResourceQuota raised"
    )


def _unschedulable(evidence: _Evidence) -> Failure | None:
    for pod in evidence.pods:
        condition = _condition(pod, "PodScheduled")
        if condition is None or condition.get("status") != "False":
            continue
        if condition.get("reason") == "SchedulingGated":
            continue
        message = scheduler_message(condition.get("message"))
        return _no_gpu_node(evidence, message) or Failure(
            Reason.UNSCHEDULABLE,
            f"No node takes pod {_name(pod)} ({message}): {_room(message)}",
        )
    return None


def _no_gpu_node(evidence: _Evidence, message: str) -> Failure | None:
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


def _room(message: str) -> str:
    if "persistentvolumeclaim" in message.lower():
        return "create the PersistentVolumeClaim and its volume, or correct spec.pod.volumes"
    if "untolerated taint" in message and "Insufficient" not in message:
        return "add nodes without that taint, or a toleration to spec.pod.tolerations"
    return "add nodes, or ask for less in spec.server.resources or for other nodes in spec.pod"


def _image_not_pulled(evidence: _Evidence) -> Failure | None:
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


def _config_missing(evidence: _Evidence) -> Failure | None:
    for container in evidence.containers:
        if container.waiting.get("reason") == "CreateContainerConfigError":
            return Failure(
                Reason.CONFIG_MISSING,
                f"Pod {container.pod} can't start: {one_line(container.waiting.get('message'))}. "
                "Create what is missing, or correct spec.model.credentialsSecret, spec.server.env "
                "or spec.dependencies",
            )
    return None


def _volume_missing(evidence: _Evidence) -> Failure | None:
    """A pod waits without a word for a volume whose Secret or ConfigMap is not there."""
    named = _named_config(evidence.resource)
    for pod in evidence.pods:
        waited = _waited_for_volumes(pod, evidence.now)
        if named and waited is not None and waited > VOLUME_PATIENCE:
            return Failure(
                Reason.CONFIG_MISSING,
                f"Pod {_name(pod)} waits for its volumes: see that {' and '.join(named)} exist in "
                f"namespace {evidence.resource.namespace}; `kubectl describe pod {_name(pod)}` "
                "shows more",
            )
    return None


def _out_of_memory(evidence: _Evidence) -> Failure | None:
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


def _died_like_out_of_memory(container: _Container, resource: MLflowModelDeployment) -> bool:
    """Killed, and not by a probe: those kill only what has run for as long as it may start.

    Container runtimes do not always tell that memory was the reason.
    """
    ended = container.ended
    if ended.get("exitCode") != _KILLED or ended.get("reason") != "Error":
        return False
    ran = _ran_for(ended)
    return container.is_init or (ran is not None and ran < _least_until_probe_kills(resource))


def _told_by_container(evidence: _Evidence) -> Failure | None:
    for container in evidence.containers:
        told = termination_message(container.ended.get("message"))
        if told and told.reason in _TOLD_BY_CONTAINER:
            fix = _TOLD_BY_CONTAINER[told.reason]
            return Failure(told.reason, f"{container}: {told.message.rstrip('. ')}: {fix}")
    return None


def _killed_by_startup_probe(evidence: _Evidence) -> Failure | None:
    """The kubelet ends a server that has not answered within the startup timeout."""
    least = _least_until_probe_kills(evidence.resource)
    # Being told to end, it may take its time to finish requests.
    most = least + 2 * quantity.seconds(evidence.resource.spec.routing.timeout) + 60
    for container in evidence.containers:
        ran = _ran_for(container.ended)
        ended_by_signal = container.ended.get("exitCode") in (0, _KILLED, _TERMINATED)
        if not container.is_init and ended_by_signal and ran is not None and least <= ran <= most:
            return _startup_timeout(evidence, f"{container} did not answer")
    return None


def _crashed(evidence: _Evidence) -> Failure | None:
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


def _not_created(evidence: _Evidence) -> Failure | None:
    """The container runtime can't make or start the container: no such program, a bad mount."""
    for container in evidence.containers:
        if container.waiting.get("reason") in ("CreateContainerError", "RunContainerError"):
            return Failure(
                Reason.CONTAINER_CRASHED,
                f"{container} can't be started: {one_line(container.waiting.get('message'))}. See "
                "that spec.server.image has an entrypoint and that spec.pod.volumeMounts fit it",
            )
    return None


def _ended_by_node(evidence: _Evidence) -> Failure | None:
    """A node gave the pod up: it ran out of something, or its device plugin refused the pod.

    Such pods stay in the list for long, so only those of the present attempt count.
    """
    for pod in evidence.dead_pods:
        status = pod["status"]
        created = _epoch(pod["metadata"].get("creationTimestamp"))
        recent = created is not None and evidence.now - created < _startup_seconds(
            evidence.resource
        )
        if recent and status.get("reason"):
            why = one_line(status.get("message")).rstrip(". ") or "no message"
            return Failure(
                Reason.POD_REJECTED,
                f"The node gave up pod {_name(pod)} ({status['reason']}: {why}): change "
                "spec.server.resources to what the pod needs, or spec.pod to get other nodes",
            )
    return None


def _too_slow(evidence: _Evidence) -> Failure | None:
    condition = _condition(evidence.deployment, "Progressing")
    if condition is None or condition.get("reason") != "ProgressDeadlineExceeded":
        return None
    return _startup_timeout(evidence, f"The pods of {evidence.revision.name} did not get ready")


def _startup_timeout(evidence: _Evidence, what: str) -> Failure:
    timeout = evidence.resource.spec.server.startup_timeout
    return Failure(
        Reason.STARTUP_TIMEOUT,
        f"{what} within {timeout}: raise spec.server.startupTimeout if the model needs longer to "
        "load",
    )


_CHECKS: tuple[Callable[[_Evidence], Failure | None], ...] = (
    _apply_refused,
    _pods_not_created,
    _unschedulable,
    _image_not_pulled,
    _config_missing,
    _volume_missing,
    _out_of_memory,
    _told_by_container,
    _killed_by_startup_probe,
    _crashed,
    _not_created,
    _ended_by_node,
    _too_slow,
)


def _unready_containers(pod: KubeObject) -> Iterator[_Container]:
    """The containers of a pod that are not ready, init containers first."""
    status = pod.get("status", {})
    for found in status.get("initContainerStatuses", ()):
        # One that is done counts as ready to Kubernetes, and so does a sidecar that runs.
        if not found.get("ready"):
            yield _container(pod, found, is_init=True)
    for found in status.get("containerStatuses", ()):
        if not found.get("ready"):
            yield _container(pod, found, is_init=False)


def _container(pod: KubeObject, found: KubeObject, *, is_init: bool) -> _Container:
    ended = _part(found, "state", "terminated") or _part(found, "lastState", "terminated")
    return _Container(
        pod=_name(pod),
        name=found.get("name", ""),
        image=found.get("image", ""),
        is_init=is_init,
        waiting=_part(found, "state", "waiting"),
        ended=ended,
    )


def _part(found: KubeObject, state: str, name: str) -> KubeObject:
    part: KubeObject = (found.get(state) or {}).get(name) or {}
    return part


def _is_dead(pod: KubeObject) -> bool:
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _waited_for_volumes(pod: KubeObject, now: float) -> float | None:
    """For how many seconds a pod has been on its node without volumes and network; else None."""
    ready_to_start = _condition(pod, "PodReadyToStartContainers")
    started = _epoch(pod.get("status", {}).get("startTime"))
    if started is None or ready_to_start is None or ready_to_start.get("status") != "False":
        return None
    # Pods that have run before and lost their sandbox are another matter.
    has_run = any(_container(pod, one, is_init=False).ended for one in _all_containers(pod))
    return None if has_run or _is_dead(pod) else now - started


def _all_containers(pod: KubeObject) -> list[KubeObject]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _named_config(resource: MLflowModelDeployment) -> list[str]:
    """The Secrets and ConfigMaps that the spec's volumes can't do without, with their fields."""
    named = []
    if resource.spec.dependencies.ca_config_map:
        name = resource.spec.dependencies.ca_config_map.name
        named.append(f"ConfigMap {name} (spec.dependencies.caConfigMap)")
    for volume in resource.spec.pod.volumes:
        shape = volume.dump()
        for kind, source, key in (
            ("ConfigMap", "configMap", "name"),
            ("Secret", "secret", "secretName"),
        ):
            part = shape.get(source)
            if isinstance(part, dict) and part.get(key) and not part.get("optional"):
                named.append(f"{kind} {part[key]} (spec.pod.volumes, {volume.name})")
    return named


def _startup_seconds(resource: MLflowModelDeployment) -> float:
    return quantity.seconds(resource.spec.server.startup_timeout)


def _least_until_probe_kills(resource: MLflowModelDeployment) -> float:
    return _startup_seconds(resource) - 5  # the first probe comes at once, and times are rounded


def _ran_for(ended: KubeObject) -> float | None:
    """Seconds from a container's start to its end."""
    started, finished = _epoch(ended.get("startedAt")), _epoch(ended.get("finishedAt"))
    return None if started is None or finished is None else finished - started


def _epoch(text: object) -> float | None:
    """Seconds since 1970 of a Kubernetes time; None if it is missing or null."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


def _condition(obj: KubeObject | None, type_: str) -> KubeObject | None:
    conditions: list[KubeObject] = (obj or {}).get("status", {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == type_), None)


def _name(pod: KubeObject) -> str:
    return str(pod["metadata"]["name"])
