"""The rules of a route: which requests they are about, and where those go."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.match_fields import RequestMatch
from mlflow_model_operator.render.route_rules import (
    GRPC_PATH,
    RouteRule,
    StickyCookie,
    route_rules,
)
from mlflow_model_operator.rollout.matches import NOBODY, Pin, cookie_header
from mlflow_model_operator.rollout.state import Weight

SPLIT = (Weight("a", 80), Weight("b", 20))
UNSPLIT = (Weight("a", 100), Weight("b", 0))
USER = StickyCookie("user", "/wine", 60, ("a", "b"))
TESTER = RequestMatch.model_validate({"header": {"name": "x-tester", "value": "true"}})
BETA = RequestMatch.model_validate({"cookie": {"name": "beta", "value": "yes"}})
# Cookies as RFC 6265 has them.
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,10}", fullmatch=True)
VALUES = st.from_regex(r"[!#-+.-:<-\[\]-~-]{1,20}", fullmatch=True)


def weights(rules: list[RouteRule]) -> list[dict[str, int]]:
    """A backend that is listed more than once has the sum."""
    services = [{backend.service for backend in rule.backends} for rule in rules]
    return [
        {name: sum(b.weight for b in rule.backends if b.service == name) for name in sorted(names)}
        for rule, names in zip(rules, services, strict=True)
    ]


def test_by_weight_alone_there_is_one_rule() -> None:
    (rule,) = route_rules("/", SPLIT)
    assert rule.headers == (None,)
    assert [backend[:3] for backend in rule.backends] == [("a", 80, 80), ("b", 80, 20)]
    assert not any(backend.set_cookie for backend in rule.backends)


def test_grpc_has_matches_and_no_cookies() -> None:
    pin = Pin((TESTER, BETA), "b", is_led=True)
    rules = route_rules("/", SPLIT, [pin], USER, serves_grpc=True)
    grpc = [rule for rule in rules if rule.path == GRPC_PATH]
    assert [len(rule.headers) for rule in rules] == [1, 2, 1, 1, 1, 2]
    assert weights(grpc) == [{"a": 80, "b": 20}, {"a": 0, "b": 100}]
    assert not any(backend.set_cookie for rule in grpc for backend in rule.backends)
    assert route_rules("/", SPLIT, [pin], USER) == rules[:4], "what is not for gRPC stays in place"


@pytest.mark.parametrize(
    ("pin", "expected"),
    [
        (Pin((TESTER,)), {"a": 80, "b": 20}),
        (Pin((TESTER,), "b"), {"a": 80, "b": 20}),
        (Pin((TESTER,), "b", is_led=True), {"a": 0, "b": 100}),
        (Pin((TESTER,), "c"), {"a": 80, "b": 20, "c": 0}),
        (Pin((TESTER,), "c", is_led=True), {"a": 0, "b": 0, "c": 100}),
    ],
)
def test_a_pin_leads_where_the_weights_do_until_its_revision_gets_it(
    pin: Pin, expected: dict[str, int]
) -> None:
    assert weights(route_rules("/", SPLIT, [pin])) == [{"a": 80, "b": 20}, expected]


def test_a_cookie_is_set_by_what_has_a_weight_while_requests_are_split() -> None:
    split = route_rules("/wine", (*SPLIT, Weight("c", 0)), sticky=USER)
    assert [backend.set_cookie for backend in split[0].backends] == [
        "user=a; Path=/wine; Max-Age=60; HttpOnly; SameSite=Lax",
        "user=b; Path=/wine; Max-Age=60; HttpOnly; SameSite=Lax",
        None,
    ]
    assert weights(split[1:]) == [{"a": 100, "b": 0, "c": 0}, {"a": 0, "b": 100, "c": 0}]
    assert all(rule.rewrites for rule in split)
    unsplit = route_rules("/wine", UNSPLIT, sticky=USER)
    assert weights(unsplit) == [{"a": 100, "b": 0}] * 3
    assert not any(backend.set_cookie for rule in unsplit for backend in rule.backends)


def test_the_rules_of_users_stay_where_they_are() -> None:
    nobody = StickyCookie("user", "/", 60, ("a", None))
    rules = route_rules("/", (Weight("a", 100),), sticky=nobody)
    assert weights(rules) == [{"a": 100}] * 3
    assert [rule.headers for rule in rules[1:]] == [
        (cookie_header("user", "a"),),
        (cookie_header("user", NOBODY),),
    ]
    assert route_rules("/", SPLIT, sticky=USER._replace(revisions=())) == route_rules("/", SPLIT)
    exchange = USER._replace(is_assigned=False)
    assert weights(route_rules("/", SPLIT, sticky=exchange)) == [{"a": 80, "b": 20}] * 3


@given(
    shares=st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any),
    places=st.permutations(["a", "b", "c", "d", "e"]),
    count=st.integers(2, 5),
)
def test_each_place_of_a_revision_has_a_share_and_a_filter_at_all_times(
    shares: list[int], places: list[str], count: int
) -> None:
    """So a gateway with a cluster for each of them has the same ones, whatever happens."""
    scaled = [100 * share // sum(shares) for share in shares]
    scaled[scaled.index(max(scaled))] += 100 - sum(scaled)
    traffic = [Weight(name, share) for name, share in zip("abcde", scaled, strict=False)]
    sticky = USER._replace(revisions=tuple(places[:count]))
    rule, *_ = route_rules("/", traffic, sticky=sticky)
    assert weights([rule]) == [dict(traffic)]
    assert all(backend.weight > 0 and backend.has_filter for backend in rule.backends[:count])
    for place, backend in zip(places, rule.backends[:count], strict=False):
        assert backend.service == place or not dict(traffic).get(place)
    is_split = sum(share > 0 for share in scaled) > 1
    assert all(bool(b.set_cookie) == is_split for b in rule.backends if b.weight > 0)


@pytest.mark.parametrize("before", ["", "a=b; ", "a=b;", 'c="d e";  '])
@pytest.mark.parametrize("after", ["", "; a=b", ";a=b", " ; a=b"])
@given(name=NAMES, value=VALUES)
def test_a_cookie_matches_among_others(before: str, after: str, name: str, value: str) -> None:
    pattern = cookie_header(name, value).value
    assert re.fullmatch(pattern, f"{before}{name}={value}{after}")
    assert re.search(pattern, f"{before}{name}={value}{after}")


@given(name=NAMES, value=VALUES, other=VALUES)
def test_another_cookie_does_not_match(name: str, value: str, other: str) -> None:
    pattern = cookie_header(name, value).value
    assert not re.search(pattern, f"x{name}={value}")
    assert not re.search(pattern, f"{name}={value}x")
    assert bool(re.search(pattern, f"{name}={other}")) == (other == value)
