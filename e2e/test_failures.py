"""Each way to fail, provoked for real: a condition names it and says what to do, and a good model
beside it goes on answering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dev import kube
from dev.kube import KubeObject
from e2e.models import Facts
from e2e.platform import packages
from e2e.steps import (
    DeployedModel,
    given_a_deployment,
    given_a_registered_model,
    given_a_tracking_server_of_its_own,
    given_objects,
    then_condition,
    then_is_served,
    then_it_answers,
    wait_for,
    when_the_alias_moves,
    when_the_spec_changes,
    when_the_tracking_server_is_back,
    when_the_tracking_server_is_gone,
)
from e2e.steps.given import registry_client


@pytest.fixture(scope="session")
def good_neighbour(shared_namespace: str, facts: Facts) -> DeployedModel:
    """A model that has nothing to do with anything that fails here."""
    model = given_a_registered_model(facts, "1")
    neighbour = given_a_deployment(shared_namespace, model.version(1), name="neighbour")
    then_is_served(neighbour, 1)
    then_it_answers(neighbour, "1")
    return neighbour


@pytest.fixture(autouse=True)
def the_neighbour_keeps_serving(good_neighbour: DeployedModel) -> Iterator[None]:
    """Before and after each test, by the same pod, with nothing restarted."""
    before = _pods(good_neighbour)
    yield
    then_condition(good_neighbour, "Ready", "True")
    then_it_answers(good_neighbour, "1")
    assert _pods(good_neighbour) == before


# The registry


def test_registry_that_nobody_answers_for(namespace: str) -> None:
    uri = "http://nobody.mlflow:5000"
    wine = given_a_deployment(namespace, "models:/wine@champion", model={"trackingUri": uri})

    then_condition(wine, "ModelResolved", "False", "RegistryUnreachable", says=[uri])
    then_condition(wine, "Available", "False", "ModelUnresolved")
    then_condition(wine, "Ready", "False", "RegistryUnreachable")


def test_registry_that_goes_away_and_comes_back(namespace: str, facts: Facts) -> None:
    uri = given_a_tracking_server_of_its_own(namespace)
    model = given_a_registered_model(facts, "1", "2", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"), model={"trackingUri": uri})
    then_is_served(wine, 1)

    when_the_tracking_server_is_gone(namespace)
    says = [uri, "Version 1 is still served"]
    then_condition(wine, "ModelResolved", "False", "RegistryUnreachable", says=says)
    then_condition(wine, "Available", "True")
    then_it_answers(wine, "1")

    when_the_alias_moves(model, "champion", 2)
    when_the_tracking_server_is_back(namespace)
    then_is_served(wine, 2)
    then_it_answers(wine, "2")


def test_registry_that_rejects_its_host_name(namespace: str) -> None:
    # The server answers to names that end in .svc only, and to mlflow.mlflow.
    given_a_tracking_server_of_its_own(namespace)
    wine = given_a_deployment(
        namespace,
        "models:/wine@champion",
        model={"trackingUri": f"http://mlflow.{namespace}:5000"},
    )
    says = ["MLFLOW_SERVER_ALLOWED_HOSTS", f"mlflow.{namespace}"]
    then_condition(wine, "ModelResolved", "False", "RegistryHostRejected", says=says)


def test_models_versions_and_aliases_that_are_missing(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", champion=1)
    missing = {
        "model": ("models:/no-such-model/1", "VersionNotFound", "no-such-model"),
        "model-by-alias": ("models:/no-such-model@best", "ModelNotFound", "no-such-model"),
        "version": (model.version(7), "VersionNotFound", "version 7"),
        "alias": (model.at("nobody"), "AliasNotFound", "has no alias 'nobody'"),
        "stage": (model.version("Staging"), "StageEmpty", "Staging"),
        "logged-model": (
            "models:/m-00000000000000000000000000000000",
            "LoggedModelNotFound",
            "m-0",
        ),
        "run": ("runs:/00000000000000000000000000000000/model", "RunNotFound", "000"),
    }
    deployed = {
        name: given_a_deployment(namespace, uri, name=name) for name, (uri, _, _) in missing.items()
    }
    for name, (_, reason, text) in missing.items():
        then_condition(deployed[name], "ModelResolved", "False", reason, says=[text])
        then_condition(deployed[name], "Ready", "False", reason)

    # What was missing comes, and nobody touches the resource.
    when_the_alias_moves(model, "nobody", 1)
    then_is_served(deployed["alias"], 1)


def test_alias_that_is_deleted_leaves_its_version_serving(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"))
    then_is_served(wine, 1)

    registry_client().delete_registered_model_alias(model.name, "champion")

    says = ["champion", "Version 1 is still served"]
    then_condition(wine, "ModelResolved", "False", "AliasNotFound", says=says)
    then_condition(wine, "Available", "True")
    then_it_answers(wine, "1")


# The pods


def no_such_package(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["impossible"].uri, "dependencies": packages.DEPENDENCIES}


def files_are_gone(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["lost"].uri}


def does_not_load(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["crash"].uri}


def needs_more_memory(facts: Facts) -> dict[str, Any]:
    limits = {"limits": {"memory": "400Mi"}}
    return {"uri": facts.logged["hungry"].uri, "server": {"resources": limits}}


def no_gpu_node(facts: Facts) -> dict[str, Any]:
    gpu = {"count": 1, "resource": "example.com/gpu", "nodeSelector": {"example.com/gpu": "big"}}
    return {"uri": facts.logged["1"].uri, "gpu": gpu}


def no_node_with_that_much(facts: Facts) -> dict[str, Any]:
    requests = {"requests": {"memory": "4000Gi"}, "limits": {"memory": "4000Gi"}}
    return {"uri": facts.logged["1"].uri, "server": {"resources": requests}}


def no_such_image(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["1"].uri, "server": {"image": "registry.invalid/nothing:1"}}


def no_such_secret(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["1"].uri, "model": {"credentialsSecret": "nowhere"}}


def no_such_api_keys(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["1"].uri, "access": {"apiKeysSecret": {"name": "nowhere"}}}


def api_keys_that_are_none(facts: Facts) -> dict[str, Any]:
    access = {"apiKeysSecret": {"name": "no-keys", "key": "keys"}}
    return {"uri": facts.logged["1"].uri, "access": access}


def a_format_that_is_not_allowed(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["1"].uri, "policy": {"formats": ["onnx", "safetensors"]}}


def no_such_folder(_: Facts) -> dict[str, Any]:
    return {"uri": "/mnt/models/nothing"}


def no_such_service_account(facts: Facts) -> dict[str, Any]:
    return {"uri": facts.logged["1"].uri, "pod": {"serviceAccountName": "nobody"}}


# A Secret with a line that is no API key.
NO_KEYS: KubeObject = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "no-keys"},
    "stringData": {"keys": f"shop:{'k' * 32}\nother:short\n"},
}

FAILURES: list[tuple[Callable[[Facts], dict[str, Any]], str, list[str]]] = [
    (no_such_package, "DependencyInstallFailed", ["no-such-package-at-all", "spec.dependencies"]),
    (files_are_gone, "ArtifactUnreadable", ["spec.model.credentialsSecret"]),
    (does_not_load, "ModelLoadFailed", ["the weights are corrupt", "mlflow.pyfunc.load_model"]),
    (needs_more_memory, "OutOfMemory", ["400Mi", "spec.server.resources.limits.memory"]),
    (no_gpu_node, "NoGpuNode", ["example.com/gpu", "spec.gpu"]),
    (no_node_with_that_much, "Unschedulable", ["spec.server.resources"]),
    (no_such_image, "ImagePullFailed", ["registry.invalid/nothing:1", "spec.server.image"]),
    (no_such_secret, "ConfigMissing", ["nowhere", "spec.model.credentialsSecret"]),
    (no_such_api_keys, "AccessSecretMissing", ["Secret nowhere", "spec.access.apiKeysSecret"]),
    (api_keys_that_are_none, "AccessSecretInvalid", ["line 2", "spec.access.apiKeysSecret"]),
    (
        a_format_that_is_not_allowed,
        "PolicyDenied",
        ["has the format code", "only onnx, safetensors are allowed"],
    ),
    (no_such_folder, "ArtifactUnreadable", ["/mnt/models/nothing"]),
    (no_such_service_account, "PodRejected", ["nobody", "spec.pod.serviceAccountName"]),
]


@pytest.mark.parametrize(
    ("cause", "reason", "says"), FAILURES, ids=[cause.__name__ for cause, _, _ in FAILURES]
)
def test_pods_that_do_not_get_ready(
    cause: Callable[[Facts], dict[str, Any]],
    reason: str,
    says: list[str],
    namespace: str,
    facts: Facts,
) -> None:
    given_objects(namespace, packages.ca_config_map(facts.authority), NO_KEYS)
    wine = given_a_deployment(namespace, **cause(facts))

    then_condition(wine, "Available", "False", reason, says=says)
    then_condition(wine, "Progressing", "False", reason)
    then_condition(wine, "Ready", "False", reason)
    then_an_event_tells(wine, reason)


def test_volumes_of_the_node_are_denied(namespace: str, facts: Facts) -> None:
    volumes = [{"name": "host", "hostPath": {"path": "/"}}]
    wine = given_a_deployment(namespace, facts.logged["1"].uri, pod={"volumes": volumes})
    says = ["spec.pod.volumes", "the type of volume host is not allowed"]
    then_condition(wine, "Available", "False", "ApplyRefused", says=says)


def test_pods_without_app_armor_are_denied(namespace: str, facts: Facts) -> None:
    annotations = {"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}
    wine = given_a_deployment(namespace, facts.logged["1"].uri, pod={"annotations": annotations})
    says = ["spec.pod.annotations", "container.apparmor.security.beta.kubernetes.io/server"]
    then_condition(wine, "Available", "False", "ApplyRefused", says=says)


def test_quota_exceeded_and_raised(namespace: str, facts: Facts) -> None:
    quota: KubeObject = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"requests.memory": "100Mi"}},
    }
    given_objects(namespace, quota)
    wine = given_a_deployment(namespace, facts.logged["1"].uri)
    says = ["exceeded quota: tight", "spec.server.resources"]
    then_condition(wine, "Available", "False", "QuotaExceeded", says=says)

    given_objects(namespace, {**quota, "spec": {"hard": {"requests.memory": "2Gi"}}})
    then_is_served(wine)


def test_out_of_memory_is_mended_by_a_higher_limit(namespace: str, facts: Facts) -> None:
    tight = {"requests": {"memory": "60Mi"}, "limits": {"memory": "60Mi"}}
    wine = given_a_deployment(namespace, facts.logged["1"].uri, server={"resources": tight})
    then_condition(wine, "Available", "False", "OutOfMemory", says=["60Mi"])

    when_the_spec_changes(wine, server={"resources": {"limits": {"memory": "1Gi"}}})
    then_is_served(wine)
    then_it_answers(wine, "1")


# The gateway


def test_gateway_that_is_not_there(namespace: str, facts: Facts) -> None:
    wine = given_a_deployment(
        namespace,
        facts.logged["1"].uri,
        routing={"gateway": {"name": "nowhere", "namespace": "gateways"}},
    )
    says = ["gateways/nowhere", "spec.routing.gateway"]
    then_condition(wine, "RouteAccepted", "False", "GatewayNotFound", says=says)
    then_condition(wine, "Ready", "False", "GatewayNotFound")


def test_gateway_that_refuses_the_route(namespace: str, facts: Facts) -> None:
    given_objects(namespace, NO_ENVOY, a_gateway("by-name", "*.allowed.example.com"))
    given_objects("gateways", NO_ENVOY, a_gateway("not-for-others", "*.example.com"))
    gateways = {
        "by-name": (
            {"name": "by-name", "namespace": namespace},
            "NoMatchingListenerHostname",
        ),
        "by-namespace": (
            {"name": "not-for-others", "namespace": "gateways"},
            "NotAllowedByListeners",
        ),
    }
    for name, (gateway, why) in gateways.items():
        wine = given_a_deployment(
            namespace, facts.logged["1"].uri, name=name, routing={"gateway": gateway}
        )
        says = [gateway["name"], why, "spec.routing"]
        then_condition(wine, "RouteAccepted", "False", "RouteRefused", says=says)


# No proxy needs to run for a route to be judged.
NO_ENVOY: KubeObject = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyProxy",
    "metadata": {"name": "no-envoy"},
    "spec": {
        "provider": {"type": "Kubernetes", "kubernetes": {"envoyDeployment": {"replicas": 0}}}
    },
}


def a_gateway(name: str, allowed_hostname: str) -> KubeObject:
    """A Gateway for routes of its own namespace, and for some host names."""
    parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "no-envoy"}
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": 80,
        "hostname": allowed_hostname,
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {
            "gatewayClassName": "envoy",
            "infrastructure": {"parametersRef": parameters},
            "listeners": [listener],
        },
    }


def then_an_event_tells(deployed: DeployedModel, reason: str) -> None:
    """`kubectl describe` shows it among the events."""

    def told() -> bool:
        events = kube.get_all(kube.EVENT, deployed.namespace)
        return any(
            event["involvedObject"].get("kind") == kube.RESOURCE.kind
            and event["involvedObject"].get("name") == deployed.name
            and event.get("reason") == reason
            for event in events
        )

    wait_for(deployed, f"an event {reason}", told)


def _pods(deployed: DeployedModel) -> list[tuple[str, int]]:
    return [
        (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for pod in kube.get_all(kube.POD, deployed.namespace)
    ]
