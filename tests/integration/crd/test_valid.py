"""What is right is taken, completed by defaults, and comes back exactly."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_model_operator.api import uri
from mlflow_model_operator.api.resource import MLflowModelDeployment
from tests.integration.control_plane import ApiServer
from tests.integration.crd.resources import (
    FULL,
    JUDGED,
    MINIMAL,
    SHADOWED,
    SPLIT,
    create,
    created,
    merged,
    path,
    read,
)
from tests.unit.operator.api.model_uris import READ

HOSTILE = {
    "quotes": 'it\'s "quoted" `so`',
    "a line break and YAML": "first\nspec: {replicas: 9}\n---\nkind: Secret",
    "a template": "{{ 7 * 7 }} {% for x in y %} ${HOME} $(HOME) %s {0}",
    "anchors and tags": "&anchor *anchor <<: !!python/object:os.system",
    "control characters": "tab\t bell\x07 nul-free \x7f",
    "other scripts": "вино 葡萄酒 🍷 \u202e\u200b",
    "backslashes": "\\n \\x00 C:\\wine",
    "words that YAML reads as something else": "no",
    "long": "x" * 10_000,
    "empty": "",
}


@pytest.mark.parametrize(
    "resource",
    [MINIMAL, FULL, JUDGED, SHADOWED, SPLIT],
    ids=["minimal", "full", "judged", "shadowed", "split"],
)
def test_the_operator_parses_the_answer_of_the_api_server(
    resource: dict[str, Any], crds: ApiServer, namespace: str
) -> None:
    stored = created(crds, namespace, resource)
    parsed = MLflowModelDeployment.parse(stored)

    assert parsed.key == (namespace, "wine")
    assert parsed.uid == stored["metadata"]["uid"]
    assert parsed.generation == 1
    # The defaults of the CRD and those of the models are the same.
    assert parsed.spec == MLflowModelDeployment.parse(resource).spec


def test_defaults_are_filled_in(crds: ApiServer, namespace: str) -> None:
    assert created(crds, namespace, MINIMAL)["spec"] == {
        "model": {"uri": "models:/wine@champion"},
        "server": {
            "workers": 1,
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"memory": "2Gi"},
            },
            "startupTimeout": "10m",
            "storage": {"model": "50Gi", "tmp": "10Gi"},
        },
        "scaling": {"minReplicas": 1},
        "routing": {"path": "/", "timeout": "30s"},
    }


def test_everything_comes_back_as_it_was_written(crds: ApiServer, namespace: str) -> None:
    assert created(crds, namespace, FULL)["spec"] == FULL["spec"]


def test_an_analysis_is_completed_by_defaults(crds: ApiServer, namespace: str) -> None:
    stored = created(crds, namespace, JUDGED)
    analysis = stored["spec"]["rollout"]["analysis"]
    assert {k: v for k, v in analysis.items() if k != "latency"} == {
        k: v for k, v in JUDGED["spec"]["rollout"]["analysis"].items() if k != "latency"
    }
    empty = merged(JUDGED, {"metadata": {"name": "short"}, "spec": {"rollout": {"analysis": None}}})
    empty["spec"]["rollout"]["analysis"] = {"latency": [{"max": "1s"}]}
    assert created(crds, namespace, empty)["spec"]["rollout"]["analysis"] == {
        "interval": "30s",
        "minRequests": 100,
        "confidence": 95,
        "failureLimit": 0,
        "onInconclusive": "Wait",
        "errors": {"maxIncrease": 1},
        "clientErrors": {"maxIncrease": 1},
        "latency": [{"percentile": 95, "max": "1s"}],
    }


def test_access_comes_back_as_it_was_written(crds: ApiServer, namespace: str) -> None:
    access = {
        "apiKeysSecret": {"name": "clients", "key": "api-keys"},
        "jwt": {
            "issuer": "accounts.example.com",
            "jwksUrl": "https://accounts.example.com/keys?v=1",
            "audience": "wine",
        },
        "rateLimit": {"requestsPerSecond": 20, "burst": 50},
        "allowedCallers": {
            "namespaces": ["shop"],
            "serviceAccounts": [
                {"namespace": "shop", "name": "checkout"},
                {"namespace": "batch", "name": "checkout"},
            ],
        },
    }
    stored = created(crds, namespace, merged(MINIMAL, {"spec": {"access": access}}))
    assert stored["spec"]["access"] == access
    parsed = MLflowModelDeployment.parse(stored).spec.access
    assert parsed.is_checked_by_server
    assert parsed.subjects == [
        "system:serviceaccount:shop:checkout",
        "system:serviceaccount:batch:checkout",
    ]


def test_signatures_come_back_as_they_were_written(crds: ApiServer, namespace: str) -> None:
    def pem(kind: str) -> str:
        return f"-----BEGIN {kind}-----\nMFkwEwYH\n-----END {kind}-----\n"

    signatures = {
        "publicKeys": [pem("PUBLIC KEY")],
        "certificateAuthorities": [pem("CERTIFICATE"), pem("CERTIFICATE") + pem("CERTIFICATE")],
    }
    policy = {"formats": ["onnx", "skops"], "signatures": signatures}
    stored = created(crds, namespace, merged(MINIMAL, {"spec": {"policy": policy}}))
    assert stored["spec"]["policy"] == policy


@pytest.mark.parametrize("text", READ)
def test_the_api_server_takes_every_uri_that_the_operator_reads(
    text: str, crds: ApiServer, namespace: str
) -> None:
    resource = merged(MINIMAL, {"spec": {"model": {"uri": text}}})
    assert created(crds, namespace, resource)["spec"]["model"]["uri"] == text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_comes_back_exactly(text: str, crds: ApiServer, namespace: str) -> None:
    change = {
        "metadata": {"annotations": {"note": text}},
        "spec": {
            "server": {"env": [{"name": "TEXT", "value": text}]},
            "pod": {"annotations": {"note": text}, "affinity": {"x": text}},
            "scaling": {"maxReplicas": 2, "metrics": [{"x": text}]},
        },
    }
    stored = created(crds, namespace, merged(MINIMAL, change))

    assert stored["metadata"]["annotations"]["note"] == text
    parsed = MLflowModelDeployment.parse(stored).spec
    assert parsed.server.env[0].value == text
    assert parsed.pod.annotations == {"note": text}
    assert parsed.pod.affinity == {"x": text}
    assert parsed.scaling.metrics == [{"x": text}]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_comes_back_exactly_through_kubectl(
    text: str, crds: ApiServer, namespace: str
) -> None:
    change = {"spec": {"server": {"env": [{"name": "TEXT", "value": text}]}}}
    file = yaml.safe_dump(merged(MINIMAL, change))
    crds.kubectl("apply", "--namespace", namespace, "--filename", "-", given=file)

    stored = read(crds, namespace, "wine")
    assert stored["spec"]["server"]["env"] == [{"name": "TEXT", "value": text}]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    text=st.text(max_size=50)
    | st.from_regex(r"\A(models|runs|s3|gs|dbfs|file|https):/{0,3}[a-zA-Z0-9@/.: ?#-]{0,20}\Z")
)
def test_api_server_and_operator_agree_on_model_uris(text: str, crds: ApiServer) -> None:
    try:
        uri.parse(text)
        readable = True
    except uri.InvalidModelUri:
        readable = False

    resource = merged(MINIMAL, {"spec": {"model": {"uri": text}}})
    response = crds.request("POST", f"{path('default')}?dryRun=All", resource)
    assert response.ok == readable, response.text


def test_the_longest_name_is_accepted(crds: ApiServer, namespace: str) -> None:
    assert create(crds, namespace, merged(MINIMAL, {"metadata": {"name": "w" * 50}})).ok


def test_null_is_as_good_as_left_out(crds: ApiServer, namespace: str) -> None:
    written = MINIMAL | {"spec": MINIMAL["spec"] | {"server": None, "scaling": None}}
    assert created(crds, namespace, written)["spec"]["scaling"] == {"minReplicas": 1}
