"""What an HTTPRoute (Gateway API) states, and what its Gateway says of it. Pure.

The only reader of an HTTPRoute's status: https://gateway-api.sigs.k8s.io/reference/spec/#httproute.
In doubt a route counts as pending, so that nothing is ended that may still get requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.kinds import GATEWAY
from mlflow_model_operator.kube.objects import (
    KubeObject,
    condition_in,
    generation_of,
    is_true,
    namespace_of,
    status_of,
)

# Conditions that must be True before requests go where the route says.
_REQUIRED = ("Accepted", "ResolvedRefs")
# True where the Gateway has dropped some rules, or serves an older generation instead.
_PARTIALLY_INVALID = "PartiallyInvalid"
_PENDING = "Pending"  # a reason for Accepted=False: not decided yet


@dataclass(frozen=True)
class Accepted:
    """The Gateway follows the route as it stands."""


@dataclass(frozen=True)
class Refused:
    """The Gateway does not follow the route, or not all of it; `reason` is the Gateway API's."""

    reason: str
    message: str


@dataclass(frozen=True)
class Pending:
    """The Gateway has said nothing of the route as it stands."""


Acceptance = Accepted | Refused | Pending


class Header(NamedTuple):
    """A match of a rule by a header, as an HTTPRoute states it."""

    type: str  # Exact or RegularExpression
    name: str
    value: str


class HeaderRule(NamedTuple):
    """A rule of a route that is about requests with any of these headers."""

    headers: frozenset[Header]
    weights: dict[str, int]  # also those of 0

    @property
    def shares(self) -> dict[str, int]:
        """The Services that it sends requests to."""
        return {service: weight for service, weight in self.weights.items() if weight > 0}


def hostnames(route: KubeObject) -> list[str]:
    """The host names that a route states; "" where it states none, and so has all of them."""
    return list(route.get("spec", {}).get("hostnames") or [""])


def path_of(route: KubeObject) -> str:
    """The path that a route of ours matches first."""
    rules = route.get("spec", {}).get("rules") or [{}]
    matches = rules[0].get("matches") or [{}]
    return str((matches[0].get("path") or {}).get("value") or "/")


def weights(route: KubeObject) -> dict[str, int]:
    """The share that a route gives each Service of the requests that its first rule is about.

    That is the rule for requests which no other matches; none with weight 0.
    """
    return {service: weight for service, weight in listed_weights(route).items() if weight > 0}


def listed_weights(route: KubeObject) -> dict[str, int]:
    """The same with the Services that a route lists with weight 0."""
    return next((_weights(rule) for rule in _rules(route)), {})


def backends(route: KubeObject) -> frozenset[str]:
    """The Services that a route sends requests to, by any of its rules."""
    return frozenset(
        name for rule in _rules(route) for name, weight in _weights(rule).items() if weight > 0
    )


def header_rules(route: KubeObject) -> list[HeaderRule]:
    """The rules of a route that are about requests with certain headers, in their order."""
    rules = ((_headers(rule), _weights(rule)) for rule in _rules(route))
    return [HeaderRule(headers, weights) for headers, weights in rules if headers]


def has_backend_filters(route: KubeObject) -> bool:
    """Whether a route changes what some of its Services answer, or are sent."""
    return any(
        ref.get("filters") for rule in _rules(route) for ref in rule.get("backendRefs") or ()
    )


def _rules(route: KubeObject) -> list[KubeObject]:
    return route.get("spec", {}).get("rules") or []


def _weights(rule: KubeObject) -> dict[str, int]:
    """A Service that a rule lists more than once has the sum."""
    weights: dict[str, int] = {}
    for ref in rule.get("backendRefs") or ():
        weights[ref["name"]] = weights.get(ref["name"], 0) + ref.get("weight", 1)
    return weights


def _headers(rule: KubeObject) -> frozenset[Header]:
    return frozenset(
        Header(header.get("type") or "Exact", header["name"], header["value"])
        for match in rule.get("matches") or ()
        for header in match.get("headers") or ()
    )


def gateway_of(route: KubeObject) -> Key:
    """The Gateway that a route names first."""
    parents = route.get("spec", {}).get("parentRefs") or [{}]
    return Key(parents[0].get("namespace") or namespace_of(route), parents[0].get("name") or "")


def is_answered(route: KubeObject) -> bool:
    """Whether a controller has ever said anything of the route."""
    return bool(status_of(route).get("parents"))


def acceptance(route: KubeObject, gateway: str, namespace: str) -> Acceptance:
    """What the Gateway `gateway` in `namespace` says of the route as it stands.

    It is accepted where each controller that answers for that Gateway says so. A condition speaks
    of the generation that it names: without `observedGeneration`, which Gateway API demands, nobody
    knows of which, so it does not count.
    """
    answers = [
        _answer(parent.get("conditions") or [], generation_of(route))
        for parent in _parents(route, gateway, namespace)
    ]
    refusals = (answer for answer in answers if isinstance(answer, Refused))
    is_pending = not answers or any(isinstance(answer, Pending) for answer in answers)
    return next(refusals, Pending() if is_pending else Accepted())


def _parents(route: KubeObject, gateway: str, namespace: str) -> Iterator[KubeObject]:
    """The entries of the status that are about that Gateway, one for each controller."""
    for parent in status_of(route).get("parents") or ():
        ref = parent.get("parentRef") or {}
        # The defaults of a parentRef: a Gateway, and the route's own namespace.
        identity = (
            ref.get("group", GATEWAY.group),
            ref.get("kind", GATEWAY.kind),
            ref.get("namespace") or namespace_of(route),
            ref.get("name"),
        )
        if identity == (GATEWAY.group, GATEWAY.kind, namespace, gateway):
            yield parent


def _answer(conditions: list[KubeObject], generation: int) -> Acceptance:
    """What one controller says of the route's present generation."""
    current = [
        condition for condition in conditions if condition.get("observedGeneration") == generation
    ]
    refusal = next(filter(_is_refusal, current), None)
    if refusal is not None:
        return Refused(refusal.get("reason") or "", refusal.get("message") or "")
    is_accepted = all(is_true(condition_in(current, type_)) for type_ in _REQUIRED)
    return Accepted() if is_accepted else Pending()


def _is_refusal(condition: KubeObject) -> bool:
    """Whether a condition says no, and not only "not yet"."""
    if condition.get("type") == _PARTIALLY_INVALID:
        return is_true(condition)
    return (
        condition.get("type") in _REQUIRED
        and condition.get("status") == "False"
        and condition.get("reason") != _PENDING
    )
