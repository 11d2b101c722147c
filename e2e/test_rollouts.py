"""Releases in steps, with a steady load through the gateway."""

from __future__ import annotations

from typing import Any

from dev import kube
from dev.traffic import GENTLE, under_load
from e2e.models import Facts
from e2e.steps import (
    DeployedModel,
    RegisteredModel,
    answer_of,
    given_a_deployment,
    given_a_registered_model,
    then_condition,
    then_is_served,
    then_it_answers,
    then_kubectl_shows,
    then_no_other_version_answered,
    then_nothing_failed,
    wait_for,
    when_a_person_says,
    when_the_alias_moves,
    when_the_operator_is_killed,
)

Steps = list[dict[str, Any]]
STEPS: Steps = [{"weight": 20, "hold": "10s"}, {"weight": 50, "hold": "10s"}]
LONG_STEPS: Steps = [{"weight": 50, "hold": "1h"}]
ANALYSIS = {
    "interval": "5s",
    "minRequests": 30,
    "latency": [{"percentile": 50, "maxRatio": 3}],
}
PAUSED_STEPS: Steps = [{"weight": 20, "hold": "2s"}, {"pause": {}}, {"weight": 50}]


def given_version_1_is_served(
    namespace: str, facts: Facts, steps: Steps, **spec: Any
) -> tuple[RegisteredModel, DeployedModel]:
    model = given_a_registered_model(facts, "1", "2", "3", "crash", champion=1)
    rollout = {"steps": steps, **spec}
    wine = given_a_deployment(namespace, model.at("champion"), rollout=rollout)
    then_is_served(wine, 1)
    then_it_answers(wine, "1")
    return model, wine


def given_version_1_is_served_and_others_are_judged(
    namespace: str, facts: Facts, other: str
) -> tuple[RegisteredModel, DeployedModel]:
    """Version 2 behaves as `other` says."""
    model = given_a_registered_model(facts, "1", other, champion=1)
    rollout = {"steps": LONG_STEPS, "analysis": ANALYSIS}
    wine = given_a_deployment(namespace, model.at("champion"), rollout=rollout)
    then_is_served(wine, 1)
    then_it_answers(wine, "1")
    return model, wine


def then_only_version_1_answers(wine: DeployedModel) -> None:
    """The gateway has followed, and not a single request fails any more."""
    wait_for(
        wine,
        "only version 1 answers",
        lambda: all(answer_of(wine.request) == "1" for _ in range(20)),
    )
    with under_load(wine.request, GENTLE) as load:
        wait_for(wine, "a hundred answers", lambda: load.sent >= 100)
    then_nothing_failed(load)
    then_no_other_version_answered(load, "1")


def then_the_rollout_is(wine: DeployedModel, phase: str, version: int) -> None:
    def holds() -> bool:
        status = wine.status
        target = status.get("target", {}).get("modelVersion")
        return bool(target == str(version) and status.get("rollout", {}).get("phase") == phase)

    wait_for(wine, f"the rollout of version {version} is {phase}", holds)


def weights_of(wine: DeployedModel) -> dict[str, int]:
    """By version, as the status has them."""
    return {share["modelVersion"]: share["weight"] for share in wine.status.get("traffic", ())}


def test_a_good_release_by_steps_loses_no_request(namespace: str, facts: Facts) -> None:
    model, wine = given_version_1_is_served(namespace, facts, STEPS)

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        wait_for(wine, "the first step", lambda: weights_of(wine) == {"1": 80, "2": 20})
        wait_for(wine, "the second step", lambda: weights_of(wine) == {"1": 50, "2": 50})
        status = then_is_served(wine, 2)
        then_it_answers(wine, "2")

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1", "2")
    assert load.counts()["1"] > 0
    history = [(entry["modelVersion"], entry["verdict"]) for entry in status["history"]]
    assert history == [("1", "Promoted"), ("2", "Promoted")]


def test_a_release_is_paused_and_a_person_resumes_it(namespace: str, facts: Facts) -> None:
    model, wine = given_version_1_is_served(namespace, facts, PAUSED_STEPS)

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        then_the_rollout_is(wine, "Paused", 2)
        says = ["Step 2 of 3", "version 2 gets 20 %", "kubectl annotate mmd wine"]
        then_condition(wine, "Progressing", "True", "RolloutPaused", says=says)
        then_kubectl_shows(wine, "Paused")
        wait_for(wine, "version 2 has answered", lambda: load.counts()["2"] > 0)
        when_a_person_says(wine, "resume")
        then_is_served(wine, 2)
        then_it_answers(wine, "2")

    then_nothing_failed(load)


def test_a_release_is_aborted_and_tried_again(namespace: str, facts: Facts) -> None:
    model, wine = given_version_1_is_served(namespace, facts, PAUSED_STEPS)

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        then_the_rollout_is(wine, "Paused", 2)
        when_a_person_says(wine, "abort")
        says = ["Version 2", "was rolled back", "Version 1 is still served"]
        then_condition(wine, "Progressing", "False", "RolloutAborted", says=says)
        assert weights_of(wine) == {"1": 100}
        wait_for(wine, "its pods are gone", lambda: _deployments(wine) == 1)
        when_a_person_says(wine, "retry")
        then_the_rollout_is(wine, "Paused", 2)
        when_a_person_says(wine, "promote")
        then_is_served(wine, 2)

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1", "2")


def test_the_alias_moves_again_mid_rollout(namespace: str, facts: Facts) -> None:
    model, wine = given_version_1_is_served(namespace, facts, PAUSED_STEPS)

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        then_the_rollout_is(wine, "Paused", 2)
        when_the_alias_moves(model, "champion", 3)
        then_the_rollout_is(wine, "Paused", 3)
        assert weights_of(wine) == {"1": 80, "3": 20}
        when_the_operator_is_killed()
        when_a_person_says(wine, "resume")
        then_is_served(wine, 3)
        then_it_answers(wine, "3")

    then_nothing_failed(load)


def test_a_version_that_does_not_load_is_turned_back_without_a_request(
    namespace: str, facts: Facts
) -> None:
    model, wine = given_version_1_is_served(namespace, facts, STEPS)

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 4)
        says = ["Version 4", "was rolled back", "the weights are corrupt", "Version 1 is still"]
        then_condition(wine, "Progressing", "False", "ModelLoadFailed", says=says)
        when_the_alias_moves(model, "champion", 3)
        then_is_served(wine, 3)
        then_it_answers(wine, "3")

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1", "3")


def test_a_version_that_fails_under_load_is_turned_back_by_the_analysis(
    namespace: str, facts: Facts
) -> None:
    model, wine = given_version_1_is_served_and_others_are_judged(namespace, facts, "failing")

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        # An exception of the model is answered with 400, as MLflow does.
        says = ["Version 2", "was rolled back", "clientErrors 100 %", "Version 1 is still served"]
        then_condition(wine, "Progressing", "False", "AnalysisFailed", says=says)

    assert weights_of(wine) == {"1": 100}
    then_only_version_1_answers(wine)
    assert 0 < len(load.failures) < load.sent, "no more than the share of version 2"
    analysis = wine.status["rollout"]["analysis"]
    assert (analysis["verdict"], analysis["unreachablePods"]) == ("Bad", 0)
    assert wine.status["rollout"]["failed"][0]["modelVersion"] == "2"


def test_a_slow_version_is_turned_back_by_the_analysis_and_no_request_fails(
    namespace: str, facts: Facts
) -> None:
    model, wine = given_version_1_is_served_and_others_are_judged(namespace, facts, "slow")

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        says = ["Version 2", "was rolled back", "latency p50", "beyond maxRatio 3"]
        then_condition(wine, "Progressing", "False", "AnalysisFailed", says=says)

    then_nothing_failed(load)
    then_only_version_1_answers(wine)


def _deployments(wine: DeployedModel) -> int:
    return len(kube.get_all(kube.DEPLOYMENT, wine.namespace))
