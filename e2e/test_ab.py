"""Testers get the version that is meant for them, and users stay with the version that they got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import requests

from dev.traffic import GENTLE, Load, under_load
from e2e.models import Facts
from e2e.steps import (
    DeployedModel,
    given_a_deployment,
    given_a_registered_model,
    then_condition,
    then_is_served,
    then_it_answers,
    then_nothing_failed,
    wait_for,
    when_a_person_says,
    when_the_alias_moves,
    when_the_spec_changes,
)
from e2e.steps.then import answer_of
from e2e.test_canary import within_chance

TESTER = {"x-tester": "true"}
MATCH = [
    {"header": {"name": "x-tester", "value": "true"}},
    {"cookie": {"name": "beta", "value": "yes.1"}},
]
REQUESTS = 200


def answers(
    wine: DeployedModel,
    times: int,
    headers: Mapping[str, str] | None = None,
    session: requests.Session | None = None,
) -> Counter[Any]:
    """Counts the answers of one client; without a session, of as many clients as requests."""
    return Counter(
        wine.endpoint.predict([[0.0]], ["wait"], session, headers)[0] for _ in range(times)
    )


@contextmanager
def steadily(wine: DeployedModel, headers: Mapping[str, str]) -> Iterator[Load]:
    """Clients with these headers send requests all the time, and none may fail."""
    with under_load(replace(wine.request, headers=headers), GENTLE) as load:
        yield load
    print(f"{dict(headers)}: {load.sent} requests, {dict(load.counts())}")
    then_nothing_failed(load)


def until_testers_get(wine: DeployedModel, version: str) -> None:
    """Their rule leads there, also in the gateway."""
    wait_for(
        wine,
        f"testers get version {version}",
        lambda: set(answers(wine, 5, TESTER)) == {version},
    )


def accepted_weight(wine: DeployedModel) -> int | None:
    """The share of the new version that the gateway has accepted."""
    weight: int | None = wine.status.get("rollout", {}).get("acceptedWeight")
    return weight


def of_user(revision: str, cookie: str = "model-revision") -> dict[str, str]:
    """What a user sends who has got an answer of that revision."""
    return {"Cookie": f"{cookie}={revision}"}


def test_testers_always_get_the_canary(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", "3", challenger=2)
    canary = {"uri": model.at("challenger"), "weight": 0, "match": MATCH}
    wine = given_a_deployment(namespace, model.version(1), canary=canary)
    then_condition(wine, "RulesAccepted", "True")
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with steadily(wine, TESTER) as load:
        until_testers_get(wine, "2")
        when_the_alias_moves(model, "challenger", 3)
        until_testers_get(wine, "3")
    assert load.counts().keys() <= {"1", "2", "3"}

    assert answers(wine, 40, TESTER) == {"3": 40}
    assert answers(wine, 40, {"Cookie": "a=b; beta=yes.1; c=d"}) == {"3": 40}
    assert answers(wine, 40) == {"1": 40}
    for other in ({"x-tester": "True"}, {"Cookie": "beta=yes21"}, {"Cookie": "alphabeta=yes.1"}):
        assert answers(wine, 10, other) == {"1": 10}, other

    when_the_spec_changes(wine, canary=None)
    then_is_served(wine, 1)
    assert answers(wine, 20, TESTER) == {"1": 20}


def test_users_stay_with_their_version_while_requests_are_split(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2")
    canary = {"uri": model.version(2), "weight": 50, "match": MATCH}
    wine = given_a_deployment(
        namespace, model.version(1), canary=canary, routing={"sticky": {"cookie": "user"}}
    )
    then_condition(wine, "TrafficSplit", "True", "Applied", says=["50 %"])
    then_condition(wine, "RulesAccepted", "True")
    then_is_served(wine, 1)
    wait_for(wine, "it answers", lambda: answer_of(wine.request) in ("1", "2"))
    wait_for(wine, "both versions answer", lambda: set(answers(wine, 20)) == {"1", "2"})

    counts = answers(wine, REQUESTS)
    assert within_chance(counts["2"], 50, REQUESTS), counts
    users = [_user(wine) for _ in range(20)]
    assert {version for version, _ in users} == {"1", "2"}
    for version, session in users:
        assert answers(wine, 10, session=session) == {version: 10}
        assert answers(wine, 2, TESTER, session) == {"2": 2}

    # The weight is for new users; those of a version that has none any more get the other one.
    of_canary = of_user(wine.status["canary"]["revision"], "user")
    with steadily(wine, of_canary), steadily(wine, TESTER) as testers:
        when_the_spec_changes(wine, canary={"weight": 0})
        then_condition(wine, "TrafficSplit", "True", "Applied", says=[" 0 %"])
        then_condition(wine, "RouteAccepted", "True")
        wait_for(wine, "the gateway follows", lambda: set(answers(wine, 20)) == {"1"})
        wait_for(wine, "users fall back", lambda: answers(wine, 5, of_canary) == {"1": 5})
    assert set(testers.counts()) == {"2"}
    for _, session in users:
        assert answers(wine, 2, session=session) == {"1": 2}


def test_three_versions_share_the_requests(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", "3")
    variants = [
        {"name": "b", "uri": model.version(2), "weight": 30, "match": MATCH},
        {"name": "c", "uri": model.version(3), "weight": 20},
    ]
    wine = given_a_deployment(namespace, model.version(1), variants=variants)
    says = ["50 %", "(b) gets 30 %", "(c) gets 20 %"]
    then_condition(wine, "TrafficSplit", "True", "Applied", says=says)
    then_condition(wine, "VariantsReady", "True", "Ready")
    then_condition(wine, "Ready", "True")
    wait_for(wine, "it answers", lambda: answer_of(wine.request) in ("1", "2", "3"))
    wait_for(wine, "all versions answer", lambda: set(answers(wine, 30)) == {"1", "2", "3"})

    counts = answers(wine, 2 * REQUESTS)
    for version, percent in (("1", 50), ("2", 30), ("3", 20)):
        assert within_chance(counts[version], percent, 2 * REQUESTS), counts
    assert answers(wine, 20, TESTER) == {"2": 20}

    when_the_spec_changes(wine, variants=None)
    then_is_served(wine, 1)
    assert answers(wine, 20) == {"1": 20}


def test_in_a_rollout_testers_are_first_and_users_stay_from_step_to_step(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    steps = [{"pause": {}}, {"weight": 50}, {"pause": {}}]
    wine = given_a_deployment(
        namespace,
        model.at("champion"),
        rollout={"steps": steps, "match": MATCH},
        routing={"sticky": {}},
    )
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    of_old = of_user(wine.status["stable"]["revision"])
    with steadily(wine, TESTER) as testers, steadily(wine, of_old):
        when_the_alias_moves(model, "champion", 2)
        until_testers_get(wine, "2")
        assert answers(wine, 20) == {"1": 20}

        of_new = of_user(wine.status["target"]["revision"])
        with steadily(wine, of_new):
            when_a_person_says(wine, "resume")
            wait_for(wine, "the route is followed", lambda: accepted_weight(wine) == 50)
            wait_for(wine, "both versions answer", lambda: set(answers(wine, 20)) == {"1", "2"})
            for version, session in [_user(wine) for _ in range(10)]:
                assert answers(wine, 10, session=session) == {version: 10}
            for headers, version in ((of_old, "1"), (of_new, "2")):
                assert answers(wine, 10, headers) == {version: 10}

            when_a_person_says(wine, "promote")
            then_is_served(wine, 2)
            assert answers(wine, 20) == {"2": 20}
            wait_for(wine, "users of both get it", lambda: answers(wine, 5, of_old) == {"2": 5})
    assert testers.counts().keys() == {"1", "2"}


def test_testers_of_a_version_that_is_rolled_back_get_the_other_one(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    rollout = {"steps": [{"pause": {}}], "match": MATCH}
    wine = given_a_deployment(namespace, model.at("champion"), rollout=rollout)
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with steadily(wine, TESTER):
        when_the_alias_moves(model, "champion", 2)
        until_testers_get(wine, "2")
        wait_for(wine, "the status says so", lambda: wine.status.get("matched"))
        when_a_person_says(wine, "abort")
        until_testers_get(wine, "1")
        wait_for(wine, "and so does the status", lambda: "matched" not in wine.status)


def _user(wine: DeployedModel) -> tuple[Any, requests.Session]:
    """A user that keeps cookies, and the version of the first answer."""
    session = requests.Session()
    (version,) = answers(wine, 1, session=session)
    return version, session
