"""What an HTTPRoute's status says of the route as it stands."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.httproute import (
    Acceptance,
    Accepted,
    Header,
    Pending,
    Refused,
)

Json = dict[str, Any]

GENERATION = 3
ACCEPTED = {"type": "Accepted", "status": "True", "observedGeneration": GENERATION}
RESOLVED = {"type": "ResolvedRefs", "status": "True", "observedGeneration": GENERATION}
REFUSED = {
    **ACCEPTED,
    "status": "False",
    "reason": "NoMatchingListenerHostname",
    "message": "no listener",
}
UNRESOLVED = {
    **RESOLVED,
    "status": "False",
    "reason": "BackendNotFound",
    "message": "no such Service",
}
PARTIAL = {
    "type": "PartiallyInvalid",
    "status": "True",
    "reason": "UnsupportedValue",
    "message": "Dropped Rule 1",
    "observedGeneration": GENERATION,
}
GATEWAY = {"name": "shared", "namespace": "gateways"}


def route(*parents: Json) -> Json:
    metadata = {"name": "wine", "namespace": "models", "generation": GENERATION}
    return {"metadata": metadata, "status": {"parents": list(parents)}}


def parent(*conditions: Json, controller: str = "a", **ref: Any) -> Json:
    return {
        "controllerName": f"example.com/{controller}",
        "parentRef": ref or GATEWAY,
        "conditions": list(conditions),
    }


def acceptance(*parents: Json, namespace: str = "gateways") -> Acceptance:
    return httproute.acceptance(route(*parents), "shared", namespace)


def test_a_route_that_its_gateway_follows_is_accepted() -> None:
    assert acceptance(parent(ACCEPTED, RESOLVED)) == Accepted()


@pytest.mark.parametrize(
    ("conditions", "reason", "message"),
    [
        ([REFUSED, RESOLVED], "NoMatchingListenerHostname", "no listener"),
        ([ACCEPTED, UNRESOLVED], "BackendNotFound", "no such Service"),
        ([UNRESOLVED, ACCEPTED], "BackendNotFound", "no such Service"),
        ([ACCEPTED, RESOLVED, PARTIAL], "UnsupportedValue", "Dropped Rule 1"),
        # A fallback: the last valid generation is served instead.
        ([{**ACCEPTED, "observedGeneration": 2}, PARTIAL], "UnsupportedValue", "Dropped Rule 1"),
        ([{"type": "Accepted", "status": "False", "observedGeneration": 3}], "", ""),
    ],
)
def test_a_refusal_gives_the_reason_of_the_gateway(
    conditions: list[Json], reason: str, message: str
) -> None:
    assert acceptance(parent(*conditions)) == Refused(reason, message)


@pytest.mark.parametrize(
    "conditions",
    [
        [],
        [ACCEPTED],  # nothing is said of the Services that it leads to
        [RESOLVED],
        [{**ACCEPTED, "observedGeneration": GENERATION - 1}, RESOLVED],
        [ACCEPTED, {**RESOLVED, "observedGeneration": GENERATION - 1}],
        [{"type": "Accepted", "status": "True"}, {"type": "ResolvedRefs", "status": "True"}],
        [{"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners"}],
        [{**REFUSED, "observedGeneration": GENERATION - 1}, RESOLVED],
        [{**PARTIAL, "observedGeneration": GENERATION - 1}],
        [{**ACCEPTED, "status": "Unknown"}, RESOLVED],
        [{**REFUSED, "reason": "Pending"}, RESOLVED],
        [{}, {"type": "Ready", "status": "True", "observedGeneration": GENERATION}],
    ],
)
def test_without_an_answer_for_the_present_generation_a_route_is_pending(
    conditions: list[Json],
) -> None:
    assert acceptance(parent(*conditions)) == Pending()


@pytest.mark.parametrize(
    "ref",
    [
        {"name": "shared", "namespace": "elsewhere"},
        {"name": "shared"},  # the route's own namespace
        {"name": "another", "namespace": "gateways"},
        {**GATEWAY, "kind": "Service", "group": ""},
    ],
)
@pytest.mark.parametrize("verdict", [ACCEPTED, REFUSED])
def test_the_answer_of_another_parent_does_not_count(ref: Json, verdict: Json) -> None:
    assert acceptance(parent(verdict, RESOLVED, **ref)) == Pending()


def test_a_parent_without_namespace_is_in_that_of_the_route() -> None:
    assert acceptance(parent(ACCEPTED, RESOLVED, name="shared"), namespace="models") == Accepted()


def test_all_controllers_that_answer_for_the_gateway_must_agree() -> None:
    good, bad = parent(ACCEPTED, RESOLVED), parent(REFUSED, RESOLVED, controller="b")
    assert (
        acceptance(good, bad)
        == acceptance(bad, good)
        == Refused("NoMatchingListenerHostname", "no listener")
    )
    assert acceptance(good, parent(controller="b")) == Pending()


@pytest.mark.parametrize("status", [None, {}, {"parents": None}, {"parents": []}])
def test_a_route_that_nobody_has_looked_at_is_pending(status: Json | None) -> None:
    live = {**route(), "status": status}
    assert httproute.acceptance(live, "shared", "gateways") == Pending()


@pytest.mark.parametrize(
    ("refs", "expected"),
    [
        (
            [{"name": "wine-a", "weight": 90}, {"name": "wine-b", "weight": 10}],
            {"wine-a": 90, "wine-b": 10},
        ),
        ([{"name": "wine-a"}], {"wine-a": 1}),
        ([{"name": "wine-a", "weight": 1}, {"name": "wine-b", "weight": 0}], {"wine-a": 1}),
        ([], {}),
        (None, {}),
    ],
)
def test_the_weights_that_a_route_states(refs: Any, expected: dict[str, int]) -> None:
    assert httproute.weights({"spec": {"rules": [{"backendRefs": refs}]}}) == expected


@pytest.mark.parametrize("spec", [{}, {"rules": []}, {"rules": [{}]}])
def test_a_route_without_rules_has_no_weights(spec: Json) -> None:
    assert httproute.weights({"spec": spec}) == {}
    assert httproute.weights({}) == {}


def test_a_service_that_is_listed_twice_has_the_sum() -> None:
    refs = [{"name": "a", "weight": 99}, {"name": "a", "weight": 1}, {"name": "b", "weight": 0}]
    route = {"spec": {"rules": [{"backendRefs": refs}]}}
    assert httproute.weights(route) == {"a": 100}
    assert httproute.listed_weights(route) == {"a": 100, "b": 0}


def test_rules_with_headers_are_read_in_their_order() -> None:
    tester = {"name": "x-tester", "value": "true"}
    cookie = {"type": "RegularExpression", "name": "Cookie", "value": "^a=b$"}
    rules = [
        {"backendRefs": [{"name": "a"}]},
        {
            "matches": [{"headers": [tester]}, {"headers": [cookie]}],
            "backendRefs": [{"name": "a", "weight": 0}, {"name": "b", "weight": 100}],
        },
        {"matches": [{"headers": [cookie]}], "backendRefs": [{"name": "a"}]},
    ]
    first, second = httproute.header_rules({"spec": {"rules": rules}})
    exact = Header("Exact", "x-tester", "true")
    regular = Header("RegularExpression", "Cookie", "^a=b$")
    assert first.headers == {exact, regular}
    assert first.weights == {"a": 0, "b": 100}
    assert first.shares == {"b": 100}
    assert (second.headers, second.weights) == (frozenset({regular}), {"a": 1})
    assert httproute.header_rules({}) == []
