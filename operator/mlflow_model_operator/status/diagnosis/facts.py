"""What is seen of a revision's pods, as the checks look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.snapshot import ApplyFailure


@dataclass(frozen=True)
class Container:
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
class Evidence:
    """All that the checks look at."""

    resource: MLflowModelDeployment
    revision: Revision
    deployment: KubeObject | None
    pods: list[KubeObject]  # those that live, newest first
    dead_pods: list[KubeObject]  # those that a node has given up, newest first
    containers: list[Container]
    apply_errors: list[ApplyFailure]
    now: float


def unready_containers(pod: KubeObject) -> Iterator[Container]:
    """The containers of a pod that are not ready, init containers first."""
    status = pod.get("status", {})
    for found in status.get("initContainerStatuses", ()):
        # One that is done counts as ready to Kubernetes, and so does a sidecar that runs.
        if not found.get("ready"):
            yield _container(pod, found, is_init=True)
    for found in status.get("containerStatuses", ()):
        if not found.get("ready"):
            yield _container(pod, found, is_init=False)


def _container(pod: KubeObject, found: KubeObject, *, is_init: bool) -> Container:
    ended = _part(found, "state", "terminated") or _part(found, "lastState", "terminated")
    return Container(
        pod=pod_name(pod),
        name=found.get("name", ""),
        image=found.get("image", ""),
        is_init=is_init,
        waiting=_part(found, "state", "waiting"),
        ended=ended,
    )


def _part(found: KubeObject, state: str, name: str) -> KubeObject:
    part: KubeObject = (found.get(state) or {}).get(name) or {}
    return part


def is_dead(pod: KubeObject) -> bool:
    """Whether a node has given the pod up."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def waited_for_volumes(pod: KubeObject, now: float) -> float | None:
    """For how many seconds a pod has been on its node without volumes and network; else None."""
    ready_to_start = find_condition(pod, "PodReadyToStartContainers")
    started = epoch(pod.get("status", {}).get("startTime"))
    if started is None or ready_to_start is None or ready_to_start.get("status") != "False":
        return None
    # Pods that have run before and lost their sandbox are another matter.
    has_run = any(_container(pod, one, is_init=False).ended for one in _all_containers(pod))
    return None if has_run or is_dead(pod) else now - started


def _all_containers(pod: KubeObject) -> list[KubeObject]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def named_config(resource: MLflowModelDeployment) -> list[str]:
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


def startup_seconds(resource: MLflowModelDeployment) -> float:
    """How long a pod may take from its start to its first answer."""
    return quantity.seconds(resource.spec.server.startup_timeout)


def least_until_probe_kills(resource: MLflowModelDeployment) -> float:
    """The seconds that a container runs at least before its startup probe ends it."""
    return startup_seconds(resource) - 5  # the first probe comes at once, and times are rounded


def ran_for(ended: KubeObject) -> float | None:
    """Seconds from a container's start to its end."""
    started, finished = epoch(ended.get("startedAt")), epoch(ended.get("finishedAt"))
    return None if started is None or finished is None else finished - started


def epoch(text: object) -> float | None:
    """Seconds since 1970 of a Kubernetes time; None if it is missing or null."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


def find_condition(obj: KubeObject | None, type_: str) -> KubeObject | None:
    """The condition of that type, if there is one."""
    conditions: list[KubeObject] = (obj or {}).get("status", {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == type_), None)


def pod_name(pod: KubeObject) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])
