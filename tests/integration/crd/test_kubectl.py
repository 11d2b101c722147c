"""What users do with kubectl: apply, scale, get, wait."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.control_plane import ApiServer
from tests.integration.crd.resources import (
    FULL,
    MINIMAL,
    PLURAL,
    as_yaml,
    created,
    merged,
    path,
    read,
)
from tests.integration.gitops import has_difference

STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "ModelLoadFailed",
            "message": "Version 5 does not take over.",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
            "observedGeneration": 1,
        },
        {
            "type": "Available",
            "status": "True",
            "reason": "MinimumReplicasAvailable",
            "message": "2 of 2 replicas answer.",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
            "observedGeneration": 1,
        },
    ],
    "url": "http://wine.models.example.com/invocations",
    "replicas": 2,
    "selector": "mlflow-model-operator.dev/deployment=wine",
    "stable": {
        "revision": "wine-7d9f4c",
        "modelVersion": "3",
        "modelUri": "models:/wine/3",
        "requestedUri": "models:/wine@champion",
        "readyReplicas": 2,
    },
    "canary": {
        "revision": "wine-8e0a5d",
        "modelVersion": "4",
        "modelUri": "models:/wine/4",
        "requestedUri": "models:/wine@challenger",
        "readyReplicas": 1,
    },
    "traffic": [
        {"revision": "wine-7d9f4c", "modelVersion": "3", "weight": 90},
        {"revision": "wine-8e0a5d", "modelVersion": "4", "weight": 10},
    ],
    "target": {
        "revision": "wine-9b2c7e",
        "modelVersion": "5",
        "modelUri": "models:/wine/5",
        "requestedUri": "models:/wine@champion",
        "readyReplicas": 1,
    },
    "rollout": {
        "phase": "Progressing",
        "revision": "wine-9b2c7e",
        "trigger": "Registry",
        "message": "",
        "startedAt": "2026-01-02T03:04:05Z",
        "waitingFor": "Hold",
        "step": 1,
        "steps": 3,
        "weight": 10,
        "targetSince": "2026-01-02T03:04:05Z",
        "stepStartedAt": "2026-01-02T03:04:05Z",
        "pausedAt": "2026-01-02T03:04:05Z",
        "resumedAt": "2026-01-02T03:04:05Z",
        "stableReplicas": 2,
        "schedule": "bcdfghjklm",
        "lastControl": "resume/1",
        "failed": [
            {
                "revision": "wine-1a1a1a",
                "modelVersion": "2",
                "modelUri": "models:/wine/2",
                "requestedUri": "models:/wine@champion",
                "name": "wine",
                "trackingUri": "http://mlflow:5000",
                "pythonVersion": "3.11.9",
                "modelCreated": 1700000000000,
                "schedule": "bcdfghjklm",
                "reason": "ModelLoadFailed",
                "message": "the weights are corrupt",
                "at": "2026-01-02T03:04:05Z",
            }
        ],
    },
    "history": [
        {
            "revision": "wine-7d9f4c",
            "modelVersion": "3",
            "modelUri": "models:/wine/3",
            "requestedUri": "models:/wine@champion",
            "name": "wine",
            "trackingUri": "http://mlflow:5000",
            "pythonVersion": "3.11.9",
            "modelCreated": 1700000000000,
            "trigger": "Start",
            "verdict": "Promoted",
            "at": "2026-01-02T03:04:05Z",
        }
    ],
    "draining": [{"revision": "wine-6c8e3b", "since": "2026-01-02T03:04:05Z"}],
}


def write_status(server: ApiServer, namespace: str, status: dict[str, Any]) -> dict[str, Any]:
    response = server.request(
        "PATCH",
        f"{path(namespace, 'wine')}/status?fieldValidation=Strict",
        {"status": status},
        "application/merge-patch+json",
    )
    assert response.ok, response.text
    written: dict[str, Any] = response.json()
    return written


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
@pytest.mark.parametrize("resource", [MINIMAL, FULL], ids=["minimal", "full"])
def test_applying_the_same_file_again_changes_nothing(
    how: tuple[str, ...], resource: dict[str, Any], crds: ApiServer, namespace: str
) -> None:
    apply = ("apply", *how, "--namespace", namespace, "--filename", "-")
    crds.kubectl(*apply, given=as_yaml(resource))
    write_status(crds, namespace, STATUS)
    before = read(crds, namespace, "wine")

    crds.kubectl(*apply, given=as_yaml(resource))

    assert read(crds, namespace, "wine") == before
    assert crds.kubectl("diff", *apply[1:], given=as_yaml(resource)) == ""
    if not how:  # Argo CD compares with what the annotation of a client-side apply says
        assert not has_difference(resource, before)


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_before_the_first_status_only_its_default_is_stored(
    how: tuple[str, ...], crds: ApiServer, namespace: str
) -> None:
    """Once: what the API server adds to what it reads is written with the next change of its."""
    apply = ("apply", *how, "--namespace", namespace, "--filename", "-")
    crds.kubectl(*apply, given=as_yaml(MINIMAL))
    before = read(crds, namespace, "wine")
    assert before["status"] == {"observedGeneration": -1}
    assert crds.kubectl("diff", *apply[1:], given=as_yaml(MINIMAL)) == ""

    crds.kubectl(*apply, given=as_yaml(MINIMAL))

    after = read(crds, namespace, "wine")
    before["metadata"].pop("resourceVersion")
    version = after["metadata"].pop("resourceVersion")
    assert after == before
    crds.kubectl(*apply, given=as_yaml(MINIMAL))
    assert read(crds, namespace, "wine")["metadata"]["resourceVersion"] == version


def test_two_managers_may_apply_parts_of_a_list(crds: ApiServer, namespace: str) -> None:
    """Lists merge by name under server-side apply, so teams can share a resource."""
    for manager, variable in (("data-science", "A"), ("platform", "B")):
        change = {"spec": {"server": {"env": [{"name": variable, "value": "1"}]}}}
        crds.kubectl(
            "apply", "--server-side", "--field-manager", manager, "--namespace", namespace,
            "--filename", "-", given=as_yaml(merged(MINIMAL, change)),
        )  # fmt: skip

    env = read(crds, namespace, "wine")["spec"]["server"]["env"]
    assert sorted(variable["name"] for variable in env) == ["A", "B"]


def test_kubectl_scale(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, MINIMAL)

    output = crds.kubectl("scale", "mmd", "wine", "--replicas", "3", "--namespace", namespace)

    assert "scaled" in output
    assert read(crds, namespace, "wine")["spec"]["scaling"] == {"minReplicas": 3}


def test_kubectl_scale_over_the_maximum_names_the_fix(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, merged(MINIMAL, {"spec": {"scaling": {"maxReplicas": 2}}}))
    scale = ("scale", "mmd", "wine", "--replicas", "3", "--namespace", namespace)
    assert "minReplicas (3) is above maxReplicas (2): raise" in crds.kubectl(*scale, check=False)


def test_the_scale_subresource_shows_replicas_and_selector(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, FULL)
    write_status(crds, namespace, STATUS)

    scale = crds.request("GET", f"{path(namespace, 'wine')}/scale").json()

    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 2, "selector": STATUS["selector"]}


def test_status_is_its_own(crds: ApiServer, namespace: str) -> None:
    """Writing status leaves spec and generation alone, and the other way round."""
    before = created(crds, namespace, FULL)
    written = write_status(crds, namespace, STATUS)

    assert written["status"] == STATUS
    assert written["metadata"]["generation"] == before["metadata"]["generation"]

    applied = crds.request(
        "PATCH",
        path(namespace, "wine"),
        {"spec": {"server": {"workers": 5}}, "status": {"url": "http://elsewhere"}},
        "application/merge-patch+json",
    ).json()
    assert applied["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert applied["status"] == STATUS


def test_kubectl_get_shows_the_status(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, FULL)
    write_status(crds, namespace, STATUS)

    header, row = crds.kubectl("get", "mmd", "--namespace", namespace).splitlines()

    columns = ["NAME", "MODEL", "VERSION", "TARGET", "ROLLOUT", "CANARY", "WEIGHT", "READY"]
    assert header.split() == [*columns, "AVAILABLE", "REASON", "URL", "AGE"]
    target, phase = STATUS["target"]["modelVersion"], STATUS["rollout"]["phase"]
    shown = ["wine", "models:/wine@champion", "3", target, phase, "4", "10", "2", "True"]
    shown += ["ModelLoadFailed", STATUS["url"]]
    assert row.split()[:-1] == shown
    wide = crds.kubectl("get", "mmd", "--namespace", namespace, "--output", "wide")
    assert "Version 5 does not take over." in wide


def test_kubectl_get_wide_says_what_a_rollout_waits_for(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, FULL)
    write_status(crds, namespace, STATUS)
    output = crds.kubectl("get", "mmd", "--namespace", namespace, "--output", "wide")
    header, row = output.splitlines()
    assert header.split()[-4:] == ["STEP", "SHARE", "WAITS", "MESSAGE"]
    rollout = STATUS["rollout"]
    message = next(c["message"] for c in STATUS["conditions"] if c["type"] == "Ready")
    assert row.endswith(message)
    shown = [str(rollout["step"]), str(rollout["weight"]), rollout["waitingFor"]]
    assert row.removesuffix(message).split()[-3:] == shown


def test_kubectl_get_before_the_first_reconcile(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, MINIMAL)
    row = crds.kubectl("get", "mmd", "--namespace", namespace).splitlines()[1]
    assert row.split()[:-1] == ["wine", "models:/wine@champion"]


def test_kubectl_wait_for_available(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, MINIMAL)
    write_status(crds, namespace, STATUS)
    wait = ("wait", "--for=condition=Available", "mmd/wine", "--timeout=10s")
    assert "condition met" in crds.kubectl(*wait, "--namespace", namespace)


def test_it_is_among_all(crds: ApiServer, namespace: str) -> None:
    created(crds, namespace, MINIMAL)
    assert f"{PLURAL.removesuffix('s')}.mlflow-model-operator.dev/wine" in crds.kubectl(
        "get", "all", "--namespace", namespace
    )


def test_kubectl_explain_describes_a_field(crds: ApiServer) -> None:
    output = crds.kubectl("explain", "mmd.spec.scaling.maxReplicas")
    assert "HorizontalPodAutoscaler scales between minReplicas and this" in " ".join(output.split())
