"""Who may connect to a model's pods, before there are any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.operator.conftest import World

Json = dict[str, Any]

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def spec_for(world: World, *namespaces: str) -> Json:
    access = {"access": {"allowedCallers": {"namespaces": list(namespaces)}}} if namespaces else {}
    return {"model": {"uri": f"models:/{world.model}@champion"}, **access}


def callers(world: World) -> list[str]:
    """The namespaces that the NetworkPolicy lets in; [] where there is none."""
    policy = world.children("networkpolicies").get("wine")
    if policy is None:
        return []
    (peer,) = policy["spec"]["ingress"][0]["from"]
    (requirement,) = peer["namespaceSelector"]["matchExpressions"]
    return list(requirement["values"])


def test_the_network_policy_comes_before_the_pods_and_follows_the_spec(world: World) -> None:
    world.given_wine_is_served(spec_for(world, "shop"))
    policy = world.children("networkpolicies")["wine"]
    (deployment,) = world.children("deployments").values()
    created = [obj["metadata"]["creationTimestamp"] for obj in (policy, deployment)]
    assert created == sorted(created)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()

    world.apply(spec_for(world, "shop", "batch"))
    world.until("the other namespace", lambda: callers(world) == ["shop", "batch"])
    assert set(world.children("deployments")) == {deployment["metadata"]["name"]}

    world.apply(spec_for(world))
    world.until("no policy", lambda: not world.children("networkpolicies"))


def test_a_network_policy_that_others_open_or_delete_comes_back(world: World) -> None:
    world.given_wine_is_served(spec_for(world, "shop"))

    world.patch("networkpolicies", "wine", {"spec": {"ingress": [{}]}})
    world.until("the policy as it was", lambda: callers_or_open(world) == ["shop"])

    world.delete("networkpolicies", "wine")
    world.until("the policy again", lambda: callers_or_open(world) == ["shop"])


def callers_or_open(world: World) -> list[str] | None:
    policy = world.children("networkpolicies").get("wine")
    if policy is None or "from" not in policy["spec"]["ingress"][0]:
        return None
    return callers(world)


def test_a_network_policy_of_others_is_not_taken_over(world: World) -> None:
    theirs = {"metadata": {"name": "wine"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    path = f"/apis/networking.k8s.io/v1/namespaces/{world.namespace}/networkpolicies"
    assert world.api.request("POST", path, theirs).ok

    world.apply(spec_for(world, "shop"))

    world.until_condition("Available", "False", "NameTaken")
    assert world.children("networkpolicies")["wine"]["spec"]["podSelector"] == {}
    assert world.children("deployments") == {}


@contextmanager
def network_policies_denied(world: World) -> Iterator[None]:
    """The API server refuses NetworkPolicies in the namespace."""
    name = f"no-policies-{world.namespace}"
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": world.namespace}
                },
                "resourceRules": [
                    {
                        "apiGroups": ["networking.k8s.io"],
                        "apiVersions": ["v1"],
                        "resources": ["networkpolicies"],
                        "operations": ["CREATE", "UPDATE"],
                    }
                ],
            },
            "validations": [{"expression": "false", "message": "network freeze"}],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    kinds = {"validatingadmissionpolicies": policy, "validatingadmissionpolicybindings": binding}
    for plural, obj in kinds.items():
        assert world.api.request("POST", f"{ADMISSION}/{plural}", obj).ok
    probe = {"metadata": {"name": "probe"}, "spec": {"podSelector": {}}}
    path = f"/apis/networking.k8s.io/v1/namespaces/{world.namespace}/networkpolicies?dryRun=All"
    world.until("the freeze", lambda: not world.api.request("POST", path, probe).ok)
    try:
        yield
    finally:
        for plural in kinds:
            assert world.api.request("DELETE", f"{ADMISSION}/{plural}/{name}").ok


def test_without_its_network_policy_nothing_is_made(world: World) -> None:
    with network_policies_denied(world):
        world.apply(spec_for(world, "shop"))
        condition = world.until_condition("Available", "False", "ApplyRefused")
        assert "network freeze" in condition["message"]
        assert world.children("deployments") == world.children("services") == {}
