"""What is stored of live objects: all that is read, and nothing that only makes noise."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.kube.transform import is_healthy_pod, transform

Json = dict[str, Any]
METADATA = {"name": "x", "resourceVersion": "7", "managedFields": [1]}


CONDITION = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "now"}
IMAGE = {"name": "server", "image": "scoring:1"}
CRASH = {"exitCode": 1, "message": "no such model"}


def pod(**status: Any) -> Json:
    return {
        "kind": "Pod",
        "metadata": {**METADATA, "annotations": {"a": "b"}},
        "spec": {"containers": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1", **status},
    }


def container(ready: bool = False, last: Json | None = None, **state: Any) -> Json:
    return {**IMAGE, "ready": ready, "restartCount": 1, "state": state, "lastState": last or {}}


def test_of_a_pod_its_trouble_is_stored() -> None:
    crashing = pod(
        startTime="then",
        containerStatuses=[container(running={"startedAt": "now"}, last={"terminated": CRASH})],
        conditions=[
            CONDITION,
            {"type": "PodReadyToStartContainers", "status": "False", "lastProbeTime": None},
            {"type": "Ready", "status": "False"},
        ],
    )
    assert transform(crashing) == {
        "kind": "Pod",
        "metadata": {"name": "x"},
        "status": {
            "startTime": "then",
            "containerStatuses": [
                {**IMAGE, "ready": False, "state": {}, "lastState": {"terminated": CRASH}}
            ],
            "conditions": [{"type": "PodReadyToStartContainers", "status": "False"}],
        },
    }


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Pending"},
        {"phase": "Pending", "conditions": [CONDITION], "startTime": "then"},
        {"containerStatuses": [container(waiting={"reason": "ContainerCreating"})]},
        {
            "initContainerStatuses": [container(running={"startedAt": "now"})],
            "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
        },
        {
            "initContainerStatuses": [container(ready=True, terminated={"exitCode": 0})],
            "containerStatuses": [container(running={"startedAt": "now"})],
        },
        {"containerStatuses": [container(ready=True, last={"terminated": CRASH})]},
    ],
    ids=["new", "scheduled", "creating", "preparing", "loading", "serving again"],
)
def test_a_pod_that_starts_or_runs_as_it_should_is_healthy(status: Json) -> None:
    assert is_healthy_pod(transform(pod(**status)))


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Failed", "reason": "Evicted", "message": "too little memory"},
        {"conditions": [{**CONDITION, "status": "False", "reason": "Unschedulable"}]},
        {"containerStatuses": [container(waiting={"reason": "ImagePullBackOff"})]},
        {"initContainerStatuses": [container(terminated=CRASH)]},
        {
            "containerStatuses": [
                container(running={"startedAt": "now"}, last={"terminated": CRASH})
            ]
        },
    ],
    ids=["given up", "unscheduled", "no image", "ended", "ended before"],
)
def test_a_pod_in_trouble_is_not_healthy(status: Json) -> None:
    assert not is_healthy_pod(transform(pod(**status)))


def test_that_a_pod_has_run_before_it_lost_its_sandbox_is_stored() -> None:
    done = container(ready=True, terminated={"exitCode": 0})
    lost = {"type": "PodReadyToStartContainers", "status": "False"}
    transformed = transform(pod(initContainerStatuses=[done], conditions=[lost]))
    assert transformed["status"]["initContainerStatuses"][0]["state"] == {
        "terminated": {"exitCode": 0}
    }


def test_of_a_deployment_its_ready_pods_and_its_trouble_are_stored() -> None:
    stuck = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    status = {
        "readyReplicas": 1,
        "observedGeneration": 3,
        "conditions": [
            {**stuck, "lastUpdateTime": "now"},
            refused,
            {"type": "Available", "status": "True"},
        ],
    }
    live = {"kind": "Deployment", "metadata": METADATA, "spec": {"replicas": 1}, "status": status}
    assert transform(live) == {
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {"replicas": 1},
        "status": {"readyReplicas": 1, "conditions": [stuck, refused]},
    }


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "Service", "PodDisruptionBudget"])
def test_a_status_that_is_never_read_is_not_stored(kind: str) -> None:
    live = {"kind": kind, "metadata": METADATA, "spec": {"a": 1}, "status": {"currentReplicas": 1}}
    assert transform(live) == {"kind": kind, "metadata": {"name": "x"}, "spec": {"a": 1}}


def test_a_route_keeps_its_status() -> None:
    live = {"kind": "HTTPRoute", "metadata": METADATA, "spec": {}, "status": {"parents": [1]}}
    assert transform(live)["status"] == {"parents": [1]}


def test_annotations_of_kubernetes_own_controller_are_not_stored() -> None:
    noted = {"deployment.kubernetes.io/revision": "1"}
    live = {"kind": "Deployment", "metadata": METADATA, "spec": {}}

    def annotated(annotations: Json) -> Json:
        return {**live, "metadata": {**METADATA, "annotations": annotations}}

    assert transform(annotated({**noted, "theirs": "2"}))["metadata"]["annotations"] == {
        "theirs": "2"
    }
    assert transform(annotated(noted)) == transform(live)
