"""The facts about a revision's pods, as the checks need them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import (
    KubeObject,
    find_condition,
    name_of,
    parse_time,
    status_of,
)
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.status.diagnosis.limits import PodLimits
from mlflow_model_operator.status.snapshot import ApplyFailure


@dataclass(frozen=True)
class Container:
    """A container of a pod."""

    pod: str
    name: str
    image: str
    is_init: bool
    is_ready: bool
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
    limits: PodLimits
    pods: list[KubeObject]  # without those that have ended, newest first
    ended_pods: list[KubeObject]  # those that their node has terminated, newest first
    containers: list[Container]
    apply_errors: list[ApplyFailure]
    now: float


def unready_containers(pod: KubeObject) -> Iterator[Container]:
    """The containers of a pod that are not ready, init containers first."""
    # An init container that is done counts as ready, and so does a sidecar that runs.
    return (container for container in _containers(pod) if not container.is_ready)


def _containers(pod: KubeObject) -> Iterator[Container]:
    for status in status_of(pod).get("initContainerStatuses", ()):
        yield _container(pod, status, is_init=True)
    for status in status_of(pod).get("containerStatuses", ()):
        yield _container(pod, status, is_init=False)


def _container(pod: KubeObject, status: KubeObject, *, is_init: bool) -> Container:
    return Container(
        pod=name_of(pod),
        name=status.get("name", ""),
        image=status.get("image", ""),
        is_init=is_init,
        is_ready=bool(status.get("ready")),
        waiting=_state(status, "state", "waiting"),
        ended=_state(status, "state", "terminated") or _state(status, "lastState", "terminated"),
    )


def _state(status: KubeObject, field: str, name: str) -> KubeObject:
    state: KubeObject = (status.get(field) or {}).get(name) or {}
    return state


def has_ended(pod: KubeObject) -> bool:
    """Whether the pod has ended for good: its node has terminated it."""
    return status_of(pod).get("phase") in ("Failed", "Succeeded")


def volume_wait(pod: KubeObject, now: float) -> float | None:
    """For how many seconds a pod has been on its node without volumes and network; else None."""
    ready_to_start = find_condition(pod, "PodReadyToStartContainers")
    started = parse_time(status_of(pod).get("startTime"))
    if started is None or ready_to_start is None or ready_to_start.get("status") != "False":
        return None
    # Pods that have run before and lost their sandbox are another matter.
    has_run = any(container.ended for container in _containers(pod))
    return None if has_run or has_ended(pod) else now - started


def run_seconds(ended: KubeObject) -> float | None:
    """Seconds from a container's start to its end."""
    started, finished = parse_time(ended.get("startedAt")), parse_time(ended.get("finishedAt"))
    return None if started is None or finished is None else finished - started
