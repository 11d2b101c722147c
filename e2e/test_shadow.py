"""A version gets copies of the requests of real clients, and none of its own."""

from __future__ import annotations

from typing import Any

from dev import kube
from dev.traffic import GENTLE, under_load
from e2e.models import Facts
from e2e.steps import (
    DeployedModel,
    children_of,
    given_a_deployment,
    given_a_registered_model,
    then_condition,
    then_is_served,
    then_it_answers,
    then_no_other_version_answered,
    then_nothing_failed,
    wait_for,
    when_the_alias_moves,
    when_the_spec_changes,
)

# The kubelet brings a changed ConfigMap to the pods within a minute and a half.
SECONDS = 240


def shadow_of(wine: DeployedModel) -> dict[str, Any]:
    found: dict[str, Any] = wine.status.get("shadow", {})
    return found


def test_a_shadow_is_compared_and_no_client_notices(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1, challenger=2)
    wine = given_a_deployment(namespace, model.at("champion"))
    then_is_served(wine, 1)
    then_it_answers(wine, "1")
    (before,) = children_of(wine, kube.DEPLOYMENT)

    with under_load(wine.request, GENTLE) as load:
        when_the_spec_changes(wine, shadow={"uri": model.at("challenger"), "percent": 50})
        then_condition(wine, "ShadowReady", "True", "Shadowing", says=["50 %"], seconds=SECONDS)
        wait_for(wine, "rows are compared", lambda: shadow_of(wine).get("comparedRows", 0) > 20)
        found = shadow_of(wine)
        when_the_spec_changes(wine, shadow=None)
        wait_for(wine, "the shadow has gone", lambda: not shadow_of(wine))

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1")
    assert (found["phase"], found["modelVersion"]) == ("Shadowing", "2")
    assert (found["errors"], found["disagreementPercent"]) == (0, 100)
    after = wait_for(wine, "one revision", lambda: _only(children_of(wine, kube.DEPLOYMENT)))
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_version_that_predicts_otherwise_never_gets_a_request(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    rollout = {
        "steps": [{"shadow": {"percent": 100}, "hold": "1h"}, {"weight": 50}],
        "analysis": {
            "interval": "5s",
            "minRequests": 30,
            "shadow": {"maxDisagreementPercent": 10},
        },
    }
    wine = given_a_deployment(namespace, model.at("champion"), rollout=rollout)
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        says = ["disagreement 100 %", "Version 1 is still served"]
        then_condition(wine, "Progressing", "False", "AnalysisFailed", says=says, seconds=SECONDS)

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1")
    assert [share["modelVersion"] for share in wine.status["traffic"]] == ["1"]


def _only(objects: list[Any]) -> Any:
    return objects[0] if len(objects) == 1 else None
