"""The live rules for testers and users: which is whose, and where each leads."""

from __future__ import annotations

import pytest

from mlflow_model_operator.api.match_fields import RequestMatch
from mlflow_model_operator.kube.httproute import Header, HeaderRule
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.rollout.matches import (
    NOBODY,
    LiveMatches,
    cookie_header,
    header_of,
    is_of_users,
    led_revisions,
)

TESTER = RequestMatch.model_validate({"header": {"name": "x-tester", "value": "true"}})
BETA = RequestMatch.model_validate({"cookie": {"name": "beta", "value": "yes"}})


def rule(weights: dict[str, int], *headers: Header) -> HeaderRule:
    return HeaderRule(frozenset(headers), weights)


def route(*rules: tuple[dict[str, int], Header | None]) -> KubeObject:
    return {
        "spec": {
            "rules": [
                {
                    "matches": [{"headers": [header._asdict()]} if header else {}],
                    "backendRefs": [{"name": name, "weight": w} for name, w in weights.items()],
                }
                for weights, header in rules
            ]
        }
    }


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (cookie_header("user", "wine-a"), True),
        (cookie_header("user", NOBODY), True),
        (cookie_header("user", "wine-b"), False),
        (cookie_header("beta", "yes"), False),
        (Header("Exact", "x-tester", "true"), False),
    ],
)
def test_the_cookie_of_a_user_has_the_name_of_a_revision(header: Header, expected: bool) -> None:
    assert is_of_users(rule({"wine-a": 100}, header)) == expected


def test_a_rule_may_lead_to_what_its_accepted_version_lists() -> None:
    tester, beta = header_of(TESTER), header_of(BETA)
    rules = (rule({"a": 100, "b": 0}, tester), rule({"a": 0, "c": 100}, tester, beta))
    accepted = LiveMatches(rules, is_accepted=True)
    assert accepted.may_lead([TESTER], "b")
    assert not accepted.may_lead([TESTER], "c"), "another rule lists it"
    assert not accepted.may_lead([BETA], "c"), "there is no such rule yet"
    assert not accepted.may_lead([], "a")
    pending = LiveMatches(rules)
    assert not pending.may_lead([TESTER], "b")
    assert pending.may_lead([BETA, TESTER], "c"), "it leads there already"


def test_testers_get_what_the_weights_do_not_lead_to() -> None:
    by_weight = {"a": 80, "b": 20}
    rules = [(by_weight, None), (by_weight, header_of(TESTER))]
    user = ({"a": 0, "b": 100}, cookie_header("user", "b"))
    assert led_revisions(route(*rules, user)) == set()
    assert led_revisions(route(*rules, ({"a": 0, "c": 100}, header_of(BETA)))) == {"c"}
