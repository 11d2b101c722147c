"""The rules of a route: which requests they are about, and where those go."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api.match_fields import RequestMatch
from mlflow_model_operator.render.route_rules import (
    GRPC_PATH,
    Pin,
    StickyCookie,
    cookie_header,
    route_rules,
)
from mlflow_model_operator.rollout.state import Weight

SPLIT = (Weight("a", 80), Weight("b", 20))
USER = StickyCookie("user", "/wine", 60)
TESTER = RequestMatch.model_validate({"header": {"name": "x-tester", "value": "true"}})
BETA = RequestMatch.model_validate({"cookie": {"name": "beta", "value": "yes"}})
# Cookies as RFC 6265 has them.
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,10}", fullmatch=True)
VALUES = st.from_regex(r"[!#-+.-:<-\[\]-~-]{1,20}", fullmatch=True)


def test_by_weight_alone_there_is_one_rule() -> None:
    (rule,) = route_rules("/", SPLIT)
    assert rule.headers == (None,)
    assert [backend[:3] for backend in rule.backends] == [("a", 80, 80), ("b", 80, 20)]
    assert not any(backend.set_cookie for backend in rule.backends)


def test_grpc_has_matches_and_no_cookies() -> None:
    rules = route_rules("/", SPLIT, [Pin("b", (TESTER, BETA))], USER, serves_grpc=True)
    grpc = [rule for rule in rules if rule.path == GRPC_PATH]
    assert [len(rule.headers) for rule in rules] == [1, 1, 2, 2, 1, 1]
    assert [[backend.weight for backend in rule.backends] for rule in grpc] == [[80, 20], [100]]
    assert not any(backend.set_cookie for rule in grpc for backend in rule.backends)


def test_a_cookie_is_set_by_what_has_a_weight_while_requests_are_split() -> None:
    split = route_rules("/wine", (*SPLIT, Weight("c", 0)), sticky=USER)
    assert [backend.set_cookie for backend in split[0].backends] == [
        "user=a; Path=/wine; Max-Age=60; HttpOnly; SameSite=Lax",
        "user=b; Path=/wine; Max-Age=60; HttpOnly; SameSite=Lax",
        None,
    ]
    assert [rule.backends[0].service for rule in split[1:]] == ["a", "b"]
    assert all(rule.rewrites for rule in split)
    unsplit = route_rules("/wine", (Weight("a", 100), Weight("b", 0)), sticky=USER)
    assert unsplit == route_rules("/wine", (Weight("a", 100), Weight("b", 0)))


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
