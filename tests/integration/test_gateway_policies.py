"""The policies of Envoy Gateway in the docs are what its CustomResourceDefinitions accept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.cluster.binaries import source_folder
from tests.integration.control_plane import ApiServer

PAGE = Path(__file__).parents[2] / "docs/how-to/access.md"
PLURALS = {"SecurityPolicy": "securitypolicies", "BackendTrafficPolicy": "backendtrafficpolicies"}
GROUP = "gateway.envoyproxy.io"
CRDS = "charts/gateway-helm/charts/crds/crds/generated"


def documented() -> Iterator[dict[str, Any]]:
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        for each in yaml.safe_load_all(block):
            if str(each.get("apiVersion", "")).startswith(GROUP):
                yield each


OBJECTS = list(documented())


@pytest.fixture(scope="module")
def gateway_crds(api_server: ApiServer) -> ApiServer:
    """The API server with those of the Envoy Gateway that the end-to-end tests install."""
    source = source_folder("envoy-gateway", "github.com/envoyproxy/gateway") / CRDS
    api_server.install_crds(*(source / f"{GROUP}_{plural}.yaml" for plural in PLURALS.values()))
    return api_server


def test_both_kinds_are_in_the_docs() -> None:
    assert {each["kind"] for each in OBJECTS} == set(PLURALS)


def apply(api: ApiServer, policy: dict[str, Any], namespace: str) -> Any:
    path = (
        f"/apis/{policy['apiVersion']}/namespaces/{namespace}/{PLURALS[policy['kind']]}"
        f"/{policy['metadata']['name']}?fieldManager=user&fieldValidation=Strict"
    )
    return api.request("PATCH", path, policy, "application/apply-patch+yaml")


@pytest.mark.parametrize("policy", OBJECTS, ids=lambda each: each["kind"])
def test_a_documented_policy_is_accepted(
    gateway_crds: ApiServer, namespace: str, policy: dict[str, Any]
) -> None:
    response = apply(gateway_crds, policy, namespace)
    assert response.ok, response.text


def test_another_field_is_not(gateway_crds: ApiServer, namespace: str) -> None:
    policy = {**OBJECTS[0], "spec": {**OBJECTS[0]["spec"], "apiKeys": {}}}
    assert not apply(gateway_crds, policy, namespace).ok
