"""Who may send requests: what the pods and their NetworkPolicy make of `spec.access`."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator import render
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_server.settings import from_environment
from tests.unit.operator.render.test_render import MODEL, SETTINGS, deployment_of, resource

Json = dict[str, Any]

KEYS = {"apiKeysSecret": {"name": "clients", "key": "api-keys"}}
JWT = {
    "jwt": {
        "issuer": "https://issuer.example.com",
        "jwksUrl": "https://issuer.example.com/jwks",
        "audience": "wine",
    }
}
LIMIT = {"rateLimit": {"requestsPerSecond": 20}}
NAMESPACES = {"allowedCallers": {"namespaces": ["shop", "gateways"]}}
ACCOUNTS = {
    **JWT,
    "allowedCallers": {"serviceAccounts": [{"namespace": "shop", "name": "checkout"}]},
}


def template_of(given: MLflowModelDeployment) -> Json:
    template: Json = deployment_of(given)["spec"]["template"]
    return template


def server_of(given: MLflowModelDeployment) -> Json:
    (server,) = template_of(given)["spec"]["containers"]
    return dict(server)


def environment_of(given: MLflowModelDeployment) -> dict[str, str]:
    return {
        variable["name"]: variable["value"]
        for variable in server_of(given)["env"]
        if "value" in variable
    }


def test_no_container_starts_without_the_secret_of_the_keys() -> None:
    volumes = template_of(resource(access=KEYS))["spec"]["volumes"]
    (volume,) = [volume for volume in volumes if volume["name"] == "access"]
    # Neither the Secret nor the key in it is optional: the kubelet waits for both.
    assert volume["secret"] == {
        "secretName": "clients",
        "items": [{"key": "api-keys", "path": "keys"}],
        "defaultMode": 0o440,
    }


def test_the_server_finds_the_keys_and_nobody_else_has_them() -> None:
    given = resource(access=KEYS)
    mounts = {mount["name"]: mount for mount in server_of(given)["volumeMounts"]}
    assert mounts["access"] == {"name": "access", "mountPath": "/access", "readOnly": True}
    assert environment_of(given)["API_KEYS_FILE"] == "/access/keys"
    (prepare,) = template_of(given)["spec"]["initContainers"]
    assert "access" not in {mount["name"] for mount in prepare["volumeMounts"]}


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ({}, {}),
        (KEYS, {"api_keys_file": "/access/keys"}),
        (
            JWT,
            {
                "jwt_issuer": "https://issuer.example.com",
                "jwks_url": "https://issuer.example.com/jwks",
                "jwt_audience": "wine",
            },
        ),
        (LIMIT, {"rate_limit": 20.0, "rate_burst": None}),
        (
            {"rateLimit": {"requestsPerSecond": 20, "burst": 5}},
            {"rate_limit": 20.0, "rate_burst": 5.0},
        ),
    ],
)
def test_the_server_reads_what_the_spec_says(access: Json, expected: Json) -> None:
    settings = from_environment(environment_of(resource(access=access)))
    for name in ("api_keys_file", "jwks_url", "rate_limit"):
        value = getattr(settings, name)
        assert (value is None) == (name not in expected), name
    for name, value in expected.items():
        actual = getattr(settings, name)
        assert (str(actual) if name == "api_keys_file" else actual) == value


def test_the_tokens_of_named_service_accounts_alone_are_accepted() -> None:
    assert environment_of(resource(access=ACCOUNTS))["JWT_SUBJECTS"] == (
        "system:serviceaccount:shop:checkout"
    )
    assert "JWT_SUBJECTS" not in environment_of(resource(access=JWT))


def test_the_formats_that_are_allowed_reach_both_steps() -> None:
    given = resource(policy={"formats": ["onnx", "skops"]})
    pod = template_of(given)["spec"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert variables["ALLOWED_FORMATS"] == "onnx skops"
    assert "ALLOWED_FORMATS" not in environment_of(resource())


def test_without_namespaces_there_is_no_network_policy() -> None:
    for access in ({}, KEYS, ACCOUNTS):
        assert render.network_objects(resource(access=access)) == []


def test_only_the_named_namespaces_may_connect() -> None:
    (policy,) = render.network_objects(resource(access=NAMESPACES))
    assert policy["metadata"]["name"] == "wine"
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    requests, metrics = spec["ingress"]
    (peer,) = requests["from"]
    assert peer == {
        "namespaceSelector": {
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "In",
                    "values": ["shop", "gateways"],
                }
            ]
        }
    }
    assert [port["port"] for port in requests["ports"]] == [8080, 8081]
    assert metrics == {"ports": [{"port": 9090, "protocol": "TCP"}]}


def test_the_policy_guards_the_pods_of_every_revision() -> None:
    given = resource(access=NAMESPACES)
    (policy,) = render.network_objects(given)
    labels = template_of(given)["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    # By this, policies for all models of a namespace leave these pods to their own.
    assert labels["mlflow-model-operator.dev/callers"] == "restricted"
    unrestricted = template_of(resource(access=KEYS))["metadata"]["labels"]
    assert "mlflow-model-operator.dev/callers" not in unrestricted


def test_other_namespaces_make_no_new_revision() -> None:
    others = {"allowedCallers": {"namespaces": ["batch"]}}
    names = {
        render.revision(resource(access=access), MODEL, SETTINGS).name
        for access in (NAMESPACES, others)
    }
    assert len(names) == 1
