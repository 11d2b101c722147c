"""What a tenant tries with nothing but MLflowModelDeployments of a namespace."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import Key, MLflowModelDeployment
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.server_claims import ServerClaims
from mlflow_model_operator.plan import (
    Resolution,
    RevisionNames,
    Surroundings,
    desired_objects,
    make_plan,
)
from mlflow_model_operator.policy import Policy
from mlflow_model_operator.settings import PolicySettings, Settings
from tests.golden.test_golden import CASES, objects

Json = dict[str, Any]

OWN_SERVER = "http://mlflow.mlflow:5000"
SETTINGS = Settings(tracking_uri=OWN_SERVER, scoring_images={"3.11": "scoring:3.11"})
MODEL = ModelVersion("models:/wine@champion", "models:/wine/3", "3", OWN_SERVER)
BANK, MALLORY = Key("bank", "bank"), Key("mallory", "thief")


def resource(key: Key, created: int, version: int = 1, **spec: Any) -> Json:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "uid": f"uid-of-{key.name}",
            "generation": 1,
            "resourceVersion": str(version),
            "creationTimestamp": f"2026-01-01T00:{created // 60:02}:{created % 60:02}Z",
        },
        "spec": {"model": {"uri": "models:/wine@champion"}, **spec},
    }


def at_the_gateway(*hostnames: str, path: str = "/") -> Json:
    gateway = {"name": "shared", "namespace": "gateways"}
    return {"routing": {"gateway": gateway, "hostnames": list(hostnames), "path": path}}


def route_of(cache: Cache, key: Key) -> Json | None:
    """The route that the operator makes for a resource; None where it makes none."""
    raw = cache.resource(key)
    assert raw is not None
    parsed = MLflowModelDeployment.parse(raw)
    live = cache.children(key, parsed.uid)
    around = Surroundings(excluded_hostnames=frozenset(cache.rivals(key)))
    plan = make_plan(
        parsed, Resolution(MODEL), live, RevisionNames(SETTINGS), SETTINGS, 0.0, around
    )
    assert plan is not None
    desired = desired_objects(parsed, plan, live, SETTINGS)
    return next((obj for obj in desired if obj["kind"] == kinds.ROUTE.kind), None)


def make_route(cache: Cache, key: Key, version: int) -> None:
    """What the operator does for the resource, as the API server answers."""
    route = route_of(cache, key)
    assert route is not None
    metadata = {**route["metadata"], "uid": f"route-{key.name}", "resourceVersion": str(version)}
    cache.ingest_event(kinds.ROUTE, "ADDED", {**route, "metadata": metadata})


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("bank.example.com", "/"),
        ("bank.example.com", "/invocations"),
        ("bank.example.com", "/v2/models/bank/infer"),
        ("bank.example.com", "/invocations/"),
    ],
)
@pytest.mark.parametrize("thief_is_older", [True, False])
def test_requests_for_anothers_host_name_cannot_be_had(
    host: str, path: str, thief_is_older: bool
) -> None:
    cache = Cache()
    thief_age = 1 if thief_is_older else 3
    harmless = at_the_gateway("harmless.example.com")
    cache.ingest_event(kinds.RESOURCE, "ADDED", resource(MALLORY, thief_age, 1, **harmless))
    make_route(cache, MALLORY, 2)
    cache.ingest_event(
        kinds.RESOURCE, "ADDED", resource(BANK, 2, 3, **at_the_gateway("bank.example.com"))
    )
    make_route(cache, BANK, 4)

    stolen = at_the_gateway(host, "harmless.example.com", path=path)
    cache.ingest_event(kinds.RESOURCE, "MODIFIED", resource(MALLORY, thief_age, 5, **stolen))

    theirs = route_of(cache, MALLORY)
    assert theirs is not None
    assert theirs["spec"]["hostnames"] == ["harmless.example.com"]
    ours = route_of(cache, BANK)
    assert ours is not None
    assert ours["spec"]["hostnames"] == ["bank.example.com"]


def test_a_name_below_anothers_wildcard_cannot_be_had() -> None:
    cache = Cache()
    wildcard, below = at_the_gateway("*.bank.example.com"), at_the_gateway("www.bank.example.com")
    cache.ingest_event(kinds.RESOURCE, "ADDED", resource(BANK, 2, 1, **wildcard))
    make_route(cache, BANK, 2)
    cache.ingest_event(kinds.RESOURCE, "ADDED", resource(MALLORY, 1, 3, **below))
    assert route_of(cache, MALLORY) is None


def test_one_namespace_has_the_operator_poll_few_servers_only() -> None:
    limit = PolicySettings().max_tracking_servers
    cache = Cache(servers=ServerClaims(limit, OWN_SERVER))
    keys = [Key("mallory", f"model-{number}") for number in range(300)]
    for number, key in enumerate(keys):
        model = {"uri": "models:/m@a", "trackingUri": f"http://evil/{number}"}
        made = resource(key, number, number + 1, model=model)
        cache.ingest_event(kinds.RESOURCE, "ADDED", made)
    polled = [key for key in keys if not cache.uses_excess_server(key)]
    assert polled == keys[:limit]


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://kubernetes.default.svc",
        "http://vault.vault:8200/v1/secret",
        f"{OWN_SERVER}/admin",
        "http://mlflow.mlflow:5001",
        "http://mlflow.mlflow.evil.example.com:5000",
    ],
)
def test_the_operator_is_sent_to_no_other_server_by_default(uri: str) -> None:
    parsed = MLflowModelDeployment.parse(
        resource(MALLORY, 1, model={"uri": "models:/m@a", "trackingUri": uri})
    )
    assert Policy(SETTINGS).tracking_uri_denial(parsed) is not None


@pytest.mark.parametrize("case", CASES)
def test_no_pod_has_a_volume_without_a_limit_unless_asked_for(case: str) -> None:
    for obj in objects(case):
        if obj["kind"] == "Deployment" and case != "full":
            volumes = obj["spec"]["template"]["spec"]["volumes"]
            scratch = [volume for volume in volumes if "emptyDir" in volume]
            assert scratch
            assert all("sizeLimit" in volume["emptyDir"] for volume in scratch), scratch


@pytest.mark.parametrize("case", CASES)
def test_what_runs_the_model_has_no_credentials_unless_asked_for(case: str) -> None:
    for obj in objects(case):
        if obj["kind"] == "Deployment" and case != "full":
            pod = obj["spec"]["template"]["spec"]
            assert pod["automountServiceAccountToken"] is False
            assert "envFrom" not in pod["containers"][0] or "initContainers" not in pod
