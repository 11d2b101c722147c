"""Gateways that are missing, come, go or are shared: what conditions say is what requests meet."""

from __future__ import annotations

from dev import kube
from dev.kube import KubeObject
from dev.traffic import GENTLE, under_load
from e2e.models import Facts
from e2e.steps import (
    DeployedModel,
    given_a_deployment,
    given_a_registered_model,
    given_objects,
    then_condition,
    then_is_served,
    then_it_answers,
    then_no_other_version_answered,
    then_nothing_failed,
    wait_for,
    when_it_is_deleted,
    when_the_alias_moves,
)
from e2e.steps.given import SHARED_GATEWAY, hostname
from e2e.steps.inside import answer_inside, answers_from_inside

PORT = 8085
ENVOY_NAMESPACE = "envoy-gateway-system"


def test_without_a_gateway_that_takes_the_route_old_revisions_go(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2", "3", champion=1)
    nowhere = {"gateway": {"name": "nowhere", "namespace": namespace}}
    wine = given_a_deployment(namespace, model.at("champion"), routing=nowhere)
    then_condition(wine, "Available", "True")

    for version in (2, 3):
        when_the_alias_moves(model, "champion", version)
        wait_for(wine, f"version {version} is stable", lambda: _stable(wine) == str(version))  # noqa: B023
        then_condition(wine, "Ready", "False", "GatewayNotFound", says=["nowhere"])

    # No route leads anywhere, so there is nothing to wait for.
    wait_for(wine, "one Deployment is left", lambda: len(_deployments(wine)) == 1)
    then_condition(wine, "Ready", "False", "GatewayNotFound", says=["nowhere"])
    assert set(answers_from_inside(wine, 10).counts) == {"3"}


def test_of_two_resources_with_a_host_name_the_older_one_has_it(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2")
    shared = {"gateway": SHARED_GATEWAY, "hostnames": [hostname("wine", namespace)]}
    wine = given_a_deployment(namespace, model.version(1))
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with under_load(wine.request, GENTLE) as load:
        rose = given_a_deployment(namespace, model.version(2), name="rose", routing=shared)
        says = [hostname("wine", namespace), "is served by MLflowModelDeployment wine"]
        then_condition(rose, "RouteAccepted", "False", "HostnameTaken", says=says)
        then_condition(rose, "Ready", "False", "HostnameTaken")
        then_condition(rose, "Available", "True")  # its Service answers inside the cluster
        then_condition(wine, "RouteAccepted", "True", "Accepted")
    then_nothing_failed(load)
    then_no_other_version_answered(load, "1")

    # The route is made again, and is then the younger one of the two.
    with under_load(wine.request, GENTLE) as load:
        before = _route_of(wine)
        kube.delete(kube.ROUTE, wine.name, namespace)
        wait_for(wine, "the route is there again", lambda: _route_of(wine) not in ("", before))
        then_is_served(wine, 1)
        then_it_answers(wine, "1")
        then_condition(rose, "RouteAccepted", "False", "HostnameTaken")
    then_no_other_version_answered(load, "1")

    when_it_is_deleted(wine)
    then_condition(rose, "RouteAccepted", "True", "Accepted")
    then_it_answers(rose, "2", wine.request)


def test_a_gateway_comes_goes_and_comes_back(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    own = {"gateway": {"name": "own", "namespace": namespace}}
    given_objects(namespace, an_envoy(replicas=1), GATEWAY)
    wine = given_a_deployment(namespace, model.at("champion"), routing=own)
    then_condition(wine, "RouteAccepted", "True", "Accepted")
    then_is_served(wine, 1)
    # As clients reach it: by the scheme and port of the listener.
    assert wine.status["url"] == f"http://{hostname('wine', namespace)}:{PORT}/invocations"
    then_its_own_gateway_answers(wine, "1")

    kube.delete(kube.GATEWAY, "own", namespace)
    says = [f"{namespace}/own", "not found"]
    then_condition(wine, "RouteAccepted", "False", "GatewayNotFound", says=says)
    when_the_alias_moves(model, "champion", 2)
    wait_for(wine, "version 2 is stable", lambda: _stable(wine) == "2")
    then_condition(wine, "Ready", "False", "GatewayNotFound", says=says)
    wait_for(wine, "the old revision has gone", lambda: len(_deployments(wine)) == 1)

    given_objects(namespace, GATEWAY)
    then_condition(wine, "RouteAccepted", "True", "Accepted")
    then_is_served(wine, 2)
    then_its_own_gateway_answers(wine, "2")


def test_a_gateway_that_nothing_serves_is_not_programmed(namespace: str, facts: Facts) -> None:
    own = {"gateway": {"name": "own", "namespace": namespace}}
    given_objects(namespace, an_envoy(replicas=0), GATEWAY)
    wine = given_a_deployment(namespace, facts.logged["1"].uri, routing=own)
    says = [f"Gateway {namespace}/own is not programmed"]
    then_condition(wine, "RouteAccepted", "False", "GatewayNotProgrammed", says=says)
    then_condition(wine, "Available", "True")
    then_condition(wine, "Ready", "False", "GatewayNotProgrammed")

    given_objects(namespace, an_envoy(replicas=1))
    then_condition(wine, "RouteAccepted", "True", "Accepted")
    then_its_own_gateway_answers(wine, "1")

    # The former controller leaves its verdicts behind.
    kube.patch(kube.GATEWAY, "own", namespace, {"spec": {"gatewayClassName": "nosuch"}})
    says = [f"Gateway {namespace}/own is not programmed", "GatewayClass nosuch"]
    then_condition(wine, "RouteAccepted", "False", "GatewayNotProgrammed", says=says)
    then_condition(wine, "Ready", "False", "GatewayNotProgrammed")


def then_its_own_gateway_answers(deployed: DeployedModel, answer: str) -> None:
    """Requests from inside the cluster to the Envoy of that Gateway are answered with this."""
    selector = f"gateway.envoyproxy.io/owning-gateway-namespace={deployed.namespace}"

    def answers() -> bool:
        services = kube.get_all(kube.SERVICE, ENVOY_NAMESPACE, selector)
        if not services:
            return False
        url = f"http://{services[0]['metadata']['name']}.{ENVOY_NAMESPACE}:{PORT}/invocations"
        return bool(answer_inside(url, deployed.endpoint.hostname, deployed) == answer)

    wait_for(deployed, f"its own gateway answers {answer}", answers)


ENVOY_PROXY = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "cluster-only"}
# For routes of its own namespace, at a port of its own.
GATEWAY: KubeObject = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "own"},
    "spec": {
        "gatewayClassName": "envoy",
        "infrastructure": {"parametersRef": ENVOY_PROXY},
        "listeners": [
            {
                "name": "http",
                "protocol": "HTTP",
                "port": PORT,
                "allowedRoutes": {"namespaces": {"from": "Same"}},
            }
        ],
    },
}


def an_envoy(replicas: int) -> KubeObject:
    """That is reached from inside the cluster only: the node's port is the shared Gateway's."""
    container = {
        "image": _image_of_shared_envoy(),  # the default is not in each cluster
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyProxy",
        "metadata": {"name": "cluster-only"},
        "spec": {
            "provider": {
                "type": "Kubernetes",
                "kubernetes": {
                    "envoyDeployment": {"replicas": replicas, "container": container},
                    "envoyService": {"type": "ClusterIP"},
                },
            }
        },
    }


def _image_of_shared_envoy() -> str:
    selector = f"gateway.envoyproxy.io/owning-gateway-name={SHARED_GATEWAY['name']}"
    pod = kube.get_all(kube.POD, ENVOY_NAMESPACE, selector)[0]
    images = {entry["name"]: entry["image"] for entry in pod["spec"]["containers"]}
    return str(images["envoy"])


def _stable(deployed: DeployedModel) -> str:
    return str(deployed.status.get("stable", {}).get("modelVersion", ""))


def _deployments(deployed: DeployedModel) -> list[KubeObject]:
    return kube.get_all(kube.DEPLOYMENT, deployed.namespace)


def _route_of(deployed: DeployedModel) -> str:
    route = kube.get(kube.ROUTE, deployed.name, deployed.namespace)
    return str(route["metadata"]["uid"]) if route else ""
