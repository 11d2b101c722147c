"""A second version on trial gets its share, or says why not."""

from __future__ import annotations

import math

from dev.traffic import count_answers
from e2e.models import Facts
from e2e.steps import (
    DeployedModel,
    given_a_deployment,
    given_a_registered_model,
    then_condition,
    then_is_served,
    then_it_answers,
    then_kubectl_shows,
    wait_for,
    when_the_alias_moves,
    when_the_spec_changes,
)
from e2e.steps.inside import answers_from_inside
from e2e.steps.then import answer_of

REQUESTS = 400


def within_chance(count: int, percent: float, total: int = REQUESTS) -> bool:
    """Whether a fair split may come out like this: 4.5 standard deviations, 1 of 150,000 runs."""
    share = percent / 100
    return abs(count - total * share) <= 4.5 * math.sqrt(total * share * (1 - share))


def test_the_gateway_gives_the_canary_its_weight(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1, challenger=2)
    wine = given_a_deployment(
        namespace, model.at("champion"), canary={"uri": model.at("challenger"), "weight": 20}
    )
    then_condition(wine, "CanaryReady", "True", "Ready", says=["Version 2"])
    then_condition(wine, "TrafficSplit", "True", "Applied", says=["20 %"])
    then_is_served(wine, 1)
    wait_for(wine, "the canary answers", lambda: answer_of(wine.request) == "2")

    counts = count_answers(wine.request, REQUESTS)

    assert set(counts) == {"1", "2"}
    assert within_chance(counts["2"], 20), counts
    then_kubectl_shows(wine, "20")

    when_the_spec_changes(wine, canary={"weight": 80})
    then_condition(wine, "TrafficSplit", "True", "Applied", says=["80 %"])
    wait_for(wine, "the gateway follows", lambda: _share_of_canary(wine, 50) > 0.5)
    counts = count_answers(wine.request, REQUESTS)
    assert within_chance(counts["2"], 80), counts

    when_the_spec_changes(wine, canary=None)
    status = then_is_served(wine, 1)
    assert "canary" not in status
    assert set(count_answers(wine.request, 40)) == {"1"}


def test_without_a_gateway_pods_approximate_the_weight_and_status_says_so(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2")
    wine = given_a_deployment(
        namespace,
        model.version(1),
        gateway=False,
        scaling={"minReplicas": 2},
        canary={"uri": model.version(2), "weight": 20},
    )
    # One pod of three is the nearest to 20 percent.
    says = ["20 %", "33 %", "1 of 3 pods", "routing.gateway"]
    then_condition(wine, "TrafficSplit", "False", "Approximate", says=says)
    then_is_served(wine, 1)

    def all_take_part() -> bool:
        return set(answers_from_inside(wine, 30).counts) == {"1", "2"}

    wait_for(wine, "both versions answer", all_take_part)
    answers = answers_from_inside(wine, REQUESTS)

    assert answers.failures == []
    assert within_chance(answers.counts["2"], 100 / 3), answers.counts


def test_a_canary_that_fails_gets_nothing_and_harms_nothing(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "crash", challenger=2)
    wine = given_a_deployment(
        namespace, model.version(1), canary={"uri": model.at("challenger"), "weight": 50}
    )

    says = ["the weights are corrupt"]
    then_condition(wine, "CanaryReady", "False", "ModelLoadFailed", says=says)
    then_condition(wine, "TrafficSplit", "False", "CanaryNotReady", says=["version 1"])
    then_condition(wine, "Available", "True")
    then_it_answers(wine, "1")
    assert set(count_answers(wine.request, 40)) == {"1"}

    when_the_alias_moves(model, "challenger", 1)
    then_condition(wine, "CanaryReady", "True", "SameVersion")


def test_a_canary_that_means_nothing_leaves_the_stable_alone(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1")
    wine = given_a_deployment(
        namespace, model.version(1), canary={"uri": model.at("nobody"), "weight": 50}
    )
    then_condition(wine, "CanaryReady", "False", "AliasNotFound", says=["nobody"])
    then_condition(wine, "TrafficSplit", "False", "CanaryUnresolved")
    then_condition(wine, "Available", "True")
    then_it_answers(wine, "1")


def _share_of_canary(wine: DeployedModel, requests: int) -> float:
    return count_answers(wine.request, requests)["2"] / requests
