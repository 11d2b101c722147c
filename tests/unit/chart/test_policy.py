"""The admission policies as they are rendered; what they judge is in tests/integration/chart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.chart.rendering import ALL_ON, CHART, NAMESPACE, REGISTRY, RELEASE, Helm, of_kind

JsonObject = dict[str, Any]

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
PREFIX = f"{RELEASE}.{NAMESPACE}"
HOSTNAMES = {"hostnames": {"allowed": ["*.{namespace}.models.example.com"]}}


def by_name(objects: list[JsonObject], kind: str) -> dict[str, JsonObject]:
    return {obj["metadata"]["name"].removeprefix(PREFIX): obj for obj in of_kind(objects, kind)}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, {".pods", ".own-objects"}),
        (HOSTNAMES, {".pods", ".own-objects", ".routes"}),
        ({"hostnames": {"byNamespace": {"a": []}}}, {".pods", ".own-objects", ".routes"}),
        ({"watchNamespaces": ["a", "b"]}, {".pods", ".own-objects"}),
        ({"policy": {"enabled": False}, **HOSTNAMES}, set()),
    ],
)
def test_each_policy_is_there_with_its_binding(
    helm: Helm, values: dict[str, Any], names: set[str]
) -> None:
    objects = helm.render(**values)

    assert by_name(objects, POLICY).keys() == by_name(objects, BINDING).keys() == names
    for binding in of_kind(objects, BINDING):
        assert binding["spec"] == {
            "policyName": binding["metadata"]["name"],
            "validationActions": ["Deny"],
        }


def test_nothing_in_the_rules_is_open_when_it_fails(helm: Helm) -> None:
    for policy in of_kind(helm.render(**ALL_ON), POLICY):
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert all(rule["message"] for rule in policy["spec"]["validations"])


@pytest.mark.parametrize(
    ("values", "account"),
    [
        ({}, RELEASE),
        ({"fullnameOverride": "mmo"}, "mmo"),
        ({"serviceAccount": {"create": False, "name": "theirs"}}, "theirs"),
        ({"serviceAccount": {"create": False}}, "default"),
    ],
)
def test_they_are_for_the_operators_account_only(
    helm: Helm, values: dict[str, Any], account: str
) -> None:
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    for policy in of_kind(helm.render(**values, **HOSTNAMES), POLICY):
        condition = policy["spec"]["matchConditions"][0]
        assert condition["expression"] == f"request.userInfo.username == '{user}'"


def test_two_releases_of_one_name_have_policies_of_their_own(helm: Helm) -> None:
    names = set(by_name(helm.render(), POLICY))
    others = helm.run(
        "template", RELEASE, str(CHART), "--namespace=elsewhere", f"--set=image.registry={REGISTRY}"
    ).stdout
    assert all(f"name: {RELEASE}.elsewhere{name}" in others for name in names)


def test_empty_lists_make_no_rules(helm: Helm) -> None:
    def fields(objects: list[JsonObject]) -> list[str]:
        validations = by_name(objects, POLICY)[".pods"]["spec"]["validations"]
        return [rule["message"].partition(":")[0] for rule in validations]

    default, filled = fields(helm.render()), fields(helm.render(**ALL_ON))

    assert default.count("spec.pod.priorityClassName") == 1
    assert filled.count("spec.pod.priorityClassName") == 2
    more = {
        "spec.pod.serviceAccountName",
        "spec.gpu.runtimeClassName",
        "spec.server.image or spec.pod.volumes",
    }
    assert more.isdisjoint(default)
    assert more <= set(filled)


def test_the_operators_own_volumes_are_always_allowed(helm: Helm) -> None:
    pods = by_name(helm.render(policy={"volumes": []}), POLICY)[".pods"]["spec"]
    (refused,) = (v for v in pods["variables"] if v["name"] == "refusedVolumes")
    assert "has(v.configMap) || has(v.emptyDir)" in refused["expression"]
