"""What each kind of trouble looks like in the cluster, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.observe.failure import _termination_message, explain
from mlflow_model_operator.observe.situation import ApplyError
from tests.unit.observe.pods import (
    V3,
    Json,
    container,
    decision,
    deployment,
    pod,
    resource,
    situation,
)


def word(reason: str, message: str) -> Json:
    return {
        "exitCode": 1,
        "reason": "Error",
        "message": json.dumps({"reason": reason, "message": message}),
    }


def unscheduled(message: str) -> list[Json]:
    return [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]


INSUFFICIENT = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
CASES: list[tuple[str, Json, Json, str, str]] = [
    (
        "an image that can't be pulled",
        {},
        pod(V3, containerStatuses=[container(waiting={"reason": "ImagePullBackOff"})]),
        "ImagePullFailed",
        "scoringImages",
    ),
    (
        "a custom image that can't be pulled",
        {"server": {"image": "x:1"}},
        pod(
            V3, containerStatuses=[container(waiting={"reason": "ErrImagePull", "message": "404"})]
        ),
        "ImagePullFailed",
        "spec.server.image",
    ),
    (
        "no GPU",
        {"gpu": {"count": 2, "nodeSelector": {"gpu": "H200"}}},
        pod(V3, conditions=unscheduled(INSUFFICIENT)),
        "NoGpuNode",
        "2 free nvidia.com/gpu and the labels gpu=H200",
    ),
    (
        "no node",
        {},
        pod(V3, conditions=unscheduled("0/3 nodes are available: 3 Insufficient memory.")),
        "Unschedulable",
        "spec.server.resources",
    ),
    (
        "a missing secret",
        {},
        pod(
            V3,
            containerStatuses=[
                container(
                    waiting={
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "mlflow" not found',
                    }
                )
            ],
        ),
        "ConfigMissing",
        'secret "mlflow" not found',
    ),
    (
        "killed for memory, now waiting for the next start",
        {},
        pod(
            V3,
            containerStatuses=[
                container(
                    waiting={"reason": "CrashLoopBackOff"},
                    last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                )
            ],
        ),
        "OutOfMemory",
        "limit (2Gi): raise spec.server.resources.limits.memory",
    ),
    (
        "a package that can't be installed",
        {},
        pod(
            V3,
            initContainerStatuses=[
                container("prepare", terminated=word("DependencyInstallFailed", "no nosuch==1"))
            ],
        ),
        "DependencyInstallFailed",
        "no nosuch==1: correct the model's requirements",
    ),
    (
        "a model that does not load, while it is tried again",
        {},
        pod(
            V3,
            containerStatuses=[
                container(
                    running={},
                    last={"terminated": word("ModelLoadFailed", "ImportError: x")},
                )
            ],
        ),
        "ModelLoadFailed",
        "ImportError: x",
    ),
    (
        "a crash without a word",
        {},
        pod(
            V3,
            containerStatuses=[
                container(terminated={"exitCode": 2, "message": "line 1\nboom\n"}),
            ],
        ),
        "ContainerCrashed",
        "exit code 2: boom",
    ),
]


@pytest.mark.parametrize(
    ("spec", "seen", "reason", "text"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_pod_in_trouble_is_explained(spec: Json, seen: Json, reason: str, text: str) -> None:
    found = explain(situation(decision(), deployment(V3), seen, of=resource(**spec)), V3)
    assert found is not None
    assert found.reason == reason
    assert text in found.message


@pytest.mark.parametrize(
    ("condition", "reason", "text"),
    [
        (
            {
                "type": "ReplicaFailure",
                "status": "True",
                "message": 'pods "x" is forbidden: exceeded quota: small, requested: memory=1Gi',
            },
            "QuotaExceeded",
            "exceeded quota: small",
        ),
        (
            {
                "type": "ReplicaFailure",
                "status": "True",
                "message": "violates PodSecurity restricted:latest",
            },
            "PodRejected",
            "violates PodSecurity",
        ),
        (
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
            "StartupTimeout",
            "within 10m: raise spec.server.startupTimeout",
        ),
    ],
)
def test_a_deployment_in_trouble_is_explained(condition: Json, reason: str, text: str) -> None:
    found = explain(situation(decision(), deployment(V3, conditions=[condition])), V3)
    assert found is not None
    assert (found.reason, text in found.message) == (reason, True)


def test_a_refused_object_is_explained_first() -> None:
    error = ApplyError("Deployment", "wine-3", 422, "Invalid", "spec.x: no")
    found = explain(situation(decision(), errors=(error,)), V3)
    assert found is not None
    assert found.reason == "ApplyRefused"


def test_a_pod_that_is_merely_starting_is_no_failure() -> None:
    starting = pod(V3, containerStatuses=[container(running={})])
    assert explain(situation(decision(), deployment(V3), starting), V3) is None


def test_pods_that_are_ending_do_not_count() -> None:
    ending = pod(V3, containerStatuses=[container(terminated={"exitCode": 1})])
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert explain(situation(decision(), deployment(V3), ending), V3) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(
    anything | anything.map(json.dumps) | st.text().map(lambda text: json.dumps({"reason": text}))
)
def test_whatever_a_pod_leaves_as_its_last_word_is_bounded(text: Any) -> None:
    told = _termination_message(text)
    assert told is None or len(told[1]) <= 600
