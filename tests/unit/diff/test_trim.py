"""What is kept of live objects: all that is looked at, and nothing that only makes noise."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.trim import trim

Json = dict[str, Any]
METADATA = {"name": "x", "resourceVersion": "7", "managedFields": [1]}


def test_of_a_pod_only_how_it_fares_is_kept() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {**METADATA, "annotations": {"a": "b"}},
        "spec": {"containers": []},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "x"}],
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "now"},
                {"type": "Ready", "status": "True"},
            ],
        },
    }
    assert trim(pod) == {
        "kind": "Pod",
        "metadata": {"name": "x"},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "x"}],
            "conditions": [{"type": "PodScheduled", "status": "True"}],
        },
    }


def test_of_a_deployment_what_answers_and_what_hinders_is_kept() -> None:
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
    assert trim(live) == {
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {"replicas": 1},
        "status": {"readyReplicas": 1, "conditions": [stuck, refused]},
    }


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "Service", "PodDisruptionBudget"])
def test_a_status_that_nobody_looks_at_is_not_kept(kind: str) -> None:
    live = {"kind": kind, "metadata": METADATA, "spec": {"a": 1}, "status": {"currentReplicas": 1}}
    assert trim(live) == {"kind": kind, "metadata": {"name": "x"}, "spec": {"a": 1}}


def test_a_route_keeps_what_gateways_say_of_it() -> None:
    live = {"kind": "HTTPRoute", "metadata": METADATA, "spec": {}, "status": {"parents": [1]}}
    assert trim(live)["status"] == {"parents": [1]}


def test_what_a_controller_notes_is_no_news() -> None:
    annotations = {"deployment.kubernetes.io/revision": "1", "theirs": "2"}
    live = {"kind": "Deployment", "metadata": {**METADATA, "annotations": annotations}, "spec": {}}
    assert trim(live)["metadata"]["annotations"] == {"theirs": "2"}
