"""Requests that match: to which revision each rule for them leads, by the decision and live. Pure.

A rule is in the route as long as the spec asks for it, at the same place. A gateway may have no
endpoints for a rule that it has just learnt; so one whose revision is not to get requests leads
where the weights do, and lists that revision, before it leads there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from mlflow_model_operator.api.match_fields import RequestMatch
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.gateway import GatewayState
from mlflow_model_operator.kube.httproute import Accepted, Header, HeaderRule, Refused
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.rollout.decision import Decision
from mlflow_model_operator.rollout.routing import route_acceptance

# A value that the cookie of no user has: it can't be the name of a revision.
NOBODY = "-"
_END = "( *;.*)?$"


class Pin(NamedTuple):
    """A rule for the requests that match any of `matches`."""

    matches: tuple[RequestMatch, ...]
    revision: str | None = None  # what it lists beside what has a weight
    is_led: bool = False  # whether it leads to that revision; otherwise, where the weights do


def pins(resource: MLflowModelDeployment, decision: Decision) -> list[Pin]:
    """The rules for requests that match, as many as the spec asks for, in its order."""
    spec = resource.spec
    variants = decision.variant_names
    by_role = [
        (spec.canary.match if spec.canary else [], decision.canary_name),
        (spec.rollout.match, decision.trial_name),
        *((variant.match, variants.get(variant.name)) for variant in spec.variants),
    ]
    return [
        Pin(tuple(matches), revision, revision in decision.matched)
        for matches, revision in by_role
        if matches
    ]


@dataclass(frozen=True)
class LiveMatches:
    """The rules of the live route for requests with a header or a cookie."""

    rules: tuple[HeaderRule, ...] = ()
    is_accepted: bool = False  # by a Gateway that is programmed
    is_refused: bool = False

    def may_lead(self, matches: Iterable[RequestMatch], revision: str) -> bool:
        """Whether a rule can lead to a revision at once: the data plane has both.

        A rule that leads there goes on while the gateway follows another change of the route.
        """
        rules = self._of(matches)
        is_listed = any(revision in rule.weights for rule in rules)
        return is_listed if self.is_accepted else self.leads(matches, revision)

    def leads(self, matches: Iterable[RequestMatch], revision: str) -> bool:
        """Whether the route as it stands sends these requests to that revision alone."""
        return any(set(rule.shares) == {revision} for rule in self._of(matches))

    def _of(self, matches: Iterable[RequestMatch]) -> list[HeaderRule]:
        headers = frozenset(map(header_of, matches))
        return [rule for rule in self.rules if rule.headers == headers]


def live_matches(
    resource: MLflowModelDeployment, live: LiveChildren, gateway: GatewayState | None
) -> LiveMatches:
    """The rules of the live route; `gateway` is the one of the spec, None if unknown."""
    route = live.routes.get(resource.name)
    if route is None:
        return LiveMatches()
    acceptance = route_acceptance(route)
    is_programmed = gateway is None or gateway.is_programmed
    return LiveMatches(
        rules=tuple(httproute.header_rules(route)),
        is_accepted=is_programmed and isinstance(acceptance, Accepted),
        is_refused=isinstance(acceptance, Refused),
    )


def matched_revisions(
    resource: MLflowModelDeployment,
    decision: Decision,
    live: LiveChildren,
    gateway: GatewayState | None,
) -> list[str]:
    """The revisions of a decision that get requests that match, by the route as it was accepted.

    While the gateway follows another change, those are what it had before and still has.
    """
    rules = live_matches(resource, live, gateway)
    recorded = set() if rules.is_refused else set(resource.status.matched)
    led = {
        pin.revision
        for pin in pins(resource, decision)
        if pin.is_led and pin.revision and rules.leads(pin.matches, pin.revision)
    }
    return [
        name for name in decision.matched if name in led and (rules.is_accepted or name in recorded)
    ]


def led_revisions(route: KubeObject) -> frozenset[str]:
    """The revisions that a route, accepted or not, sends requests that match to.

    Rules that lead where the weights do are left out, and so are those of users' cookies.
    """
    by_weight = httproute.weights(route)
    return frozenset(
        name
        for rule in httproute.header_rules(route)
        if rule.shares != by_weight and not is_of_users(rule)
        for name in rule.shares
    )


def is_of_users(rule: HeaderRule) -> bool:
    """Whether a rule is about the users of a revision: their cookie has its name."""
    ends = tuple(f"={_escaped(value)}{_END}" for value in (*rule.weights, NOBODY))
    return all(header.name == "Cookie" and header.value.endswith(ends) for header in rule.headers)


def header_of(match: RequestMatch) -> Header:
    """A match of the spec, as a route states it."""
    if match.header is not None:
        return Header("Exact", match.header.name, match.header.value)
    assert match.cookie is not None
    return cookie_header(match.cookie.name, match.cookie.value)


def cookie_header(name: str, value: str) -> Header:
    """The match of a cookie, which a browser sends beside others in one header.

    Gateways differ in whether a part of the header may match or all of it must (Envoy): so this
    matches all of it.

    >>> cookie_header("tester", "a.b").value
    '^(.*; *)?tester=a\\\\.b( *;.*)?$'
    """
    pair = f"{_escaped(name)}={_escaped(value)}"
    return Header("RegularExpression", "Cookie", f"^(.*; *)?{pair}{_END}")


def _escaped(text: str) -> str:
    """The text as part of a regular expression, escaped as all dialects have it."""
    return re.sub(r"[.+*?()|[\]{}^$\\]", r"\\\g<0>", text)
