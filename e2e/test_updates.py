"""What changes, changes without a lost request; what fails, never gets one."""

from __future__ import annotations

from dev import kube
from dev.traffic import GENTLE, Load, under_load
from e2e.models import Facts
from e2e.steps import (
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
from e2e.steps.inside import load_from_inside

SLOW = 2.0  # seconds that a slow request takes the model


def test_an_alias_moves_and_no_request_is_lost(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"))
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with (
        under_load(wine.request, GENTLE) as load,
        under_load(wine.slow_request(SLOW), 2) as slow_load,
    ):
        when_the_alias_moves(model, "champion", 2)
        then_it_answers(wine, "2")
        then_is_served(wine, 2)
        wait_for(wine, "only version 2 answers", lambda: answered_last(load) == "2")

    then_nothing_failed(load)
    then_nothing_failed(slow_load)
    then_no_other_version_answered(load, "1", "2")
    assert load.counts()["1"] > 0


def test_an_alias_moves_and_no_request_from_inside_the_cluster_is_lost(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"), gateway=False)
    then_is_served(wine, 1)

    with load_from_inside(wine) as answers:
        wait_for(wine, "version 1 answers inside the cluster", lambda: "1" in answers.counts)
        when_the_alias_moves(model, "champion", 2)
        then_is_served(wine, 2)
        wait_for(wine, "version 2 answers inside the cluster", lambda: "2" in answers.counts)

    assert answers.failures == []
    assert set(answers.counts) == {"1", "2"}


def test_a_changed_template_loses_no_request(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1")
    wine = given_a_deployment(namespace, model.version(1))
    before = then_is_served(wine, 1)["stable"]["revision"]
    then_it_answers(wine, "1")

    with under_load(wine.request, GENTLE) as load:
        when_the_spec_changes(wine, server={"env": [{"name": "FLAVOUR", "value": "dry"}]})
        after = then_is_served(wine, 1)["stable"]["revision"]

    assert after != before
    then_nothing_failed(load)


def test_a_version_that_fails_never_gets_a_request_and_a_good_one_takes_over(
    namespace: str, facts: Facts
) -> None:
    model = given_a_registered_model(facts, "1", "crash", "3", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"))
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        then_condition(
            wine,
            "Progressing",
            "False",
            "ModelLoadFailed",
            says=["Version 2 does not take over", "the weights are corrupt", "Version 1 is still"],
        )
        then_condition(wine, "Available", "True")
        assert wine.status["stable"]["modelVersion"] == "1"
        assert [share["weight"] for share in wine.status["traffic"]] == [100]
        when_the_alias_moves(model, "champion", 3)
        then_it_answers(wine, "3")
        then_is_served(wine, 3)

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1", "3")


def test_change_and_change_back(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"))
    before = then_is_served(wine, 1)["stable"]["revision"]
    then_it_answers(wine, "1")

    with under_load(wine.request, GENTLE) as load:
        when_the_alias_moves(model, "champion", 2)
        wait_for(wine, "version 2 is starting", lambda: len(children_of(wine, kube.DEPLOYMENT)) > 1)
        when_the_alias_moves(model, "champion", 1)
        after = then_is_served(wine, 1)["stable"]["revision"]

    assert after == before
    then_nothing_failed(load)


def test_drift_is_repaired(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2")
    wine = given_a_deployment(namespace, model.version(1))
    revision = then_is_served(wine, 1)["stable"]["revision"]
    intended = {child["metadata"]["name"]: child for child in children_of(wine, kube.SERVICE)}

    kube.patch(kube.SERVICE, revision, namespace, {"spec": {"selector": {"stray": "yes"}}})
    kube.patch(kube.ROUTE, wine.name, namespace, {"spec": {"hostnames": ["stray.example.com"]}})
    kube.patch(
        kube.DEPLOYMENT, revision, namespace, {"spec": {"minReadySeconds": 1, "replicas": 3}}
    )
    # Not the revision's, which the route names: if that is back within milliseconds, Envoy Gateway
    # may compare with an old cache and leave BackendNotFound in the route's status for good.
    kube.delete(kube.SERVICE, wine.name, namespace)

    def repaired() -> bool:
        service = kube.get(kube.SERVICE, revision, namespace) or {}
        route = kube.get(kube.ROUTE, wine.name, namespace) or {}
        deployment = kube.get(kube.DEPLOYMENT, revision, namespace) or {}
        return (
            service["spec"]["selector"] == intended[revision]["spec"]["selector"]
            and route["spec"]["hostnames"] == [wine.endpoint.hostname]
            and deployment["spec"]["replicas"] == 1
            and kube.get(kube.SERVICE, wine.name, namespace) is not None
        )

    wait_for(wine, "all is as the operator had made it", repaired)
    then_is_served(wine, 1)
    then_it_answers(wine, "1")


def answered_last(load: Load) -> object:
    """The newest answer."""
    return load.answers[-1][1] if load.answers else None
