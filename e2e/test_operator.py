"""The operator may be killed, stopped, asked twice; and it leaves alone what is not its own."""

from __future__ import annotations

import pytest

from dev import kube
from dev.kube import KubeObject, kubectl
from dev.traffic import under_load
from e2e.models import Facts
from e2e.steps import (
    DeployedModel,
    children_of,
    given_a_deployment,
    given_a_registered_model,
    given_a_tracking_server_of_its_own,
    then_condition,
    then_everything_is_gone,
    then_is_served,
    then_it_answers,
    then_no_other_version_answered,
    then_nothing_failed,
    wait_for,
    when_it_is_deleted,
    when_the_alias_moves,
    when_the_operator_is_back,
    when_the_operator_is_killed,
    when_the_operator_is_stopped,
    when_the_spec_changes,
    when_the_tracking_server_is_gone,
)
from e2e.steps.given import manifest

# They stop the one operator; the other tests wait a little for it.
pytestmark = pytest.mark.usefixtures("operator_alone")


def test_killed_while_it_works_it_goes_on(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"))
    when_the_operator_is_killed()
    then_is_served(wine, 1)
    then_it_answers(wine, "1")

    with under_load(wine.request, 16) as load:
        when_the_alias_moves(model, "champion", 2)
        wait_for(wine, "version 2 is starting", lambda: len(children_of(wine, kube.DEPLOYMENT)) > 1)
        when_the_operator_is_killed()
        then_it_answers(wine, "2")
        when_the_operator_is_killed()
        then_is_served(wine, 2)

    then_nothing_failed(load)
    then_no_other_version_answered(load, "1", "2")


def test_restarted_it_writes_nothing(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1, challenger=2)
    wine = given_a_deployment(
        namespace,
        model.at("champion"),
        scaling={"minReplicas": 2},
        canary={"uri": model.at("challenger"), "weight": 30},
    )
    then_is_served(wine, 1)
    wait_for(wine, "the canary has its share", lambda: len(wine.status["traffic"]) == 2)
    wait_for(wine, "all pods are ready", lambda: _all_ready(wine))
    before = _versions(wine)

    when_the_operator_is_stopped()
    when_the_operator_is_back()
    # Who comes last is served last: when the new operator has dealt with this, it has seen all.
    last = given_a_deployment(namespace, "models:/no-such-model@best", name="last")
    then_condition(last, "ModelResolved", "False", "ModelNotFound")

    assert _versions(wine) == before


def test_deleting_needs_neither_operator_nor_registry(namespace: str, facts: Facts) -> None:
    uri = given_a_tracking_server_of_its_own(namespace)
    model = given_a_registered_model(facts, "1")
    tracked = {"trackingUri": uri}
    wine = given_a_deployment(
        namespace, model.version(1), model=tracked, scaling={"minReplicas": 2}
    )
    rose = given_a_deployment(namespace, model.version(1), name="rose", model=tracked)
    then_is_served(wine, 1)
    then_is_served(rose, 1)

    when_the_tracking_server_is_gone(namespace)
    when_it_is_deleted(rose)
    then_everything_is_gone(rose)

    when_the_operator_is_stopped()
    try:
        when_it_is_deleted(wine)
        then_everything_is_gone(wine)
    finally:
        when_the_operator_is_back()


def test_what_changes_while_no_operator_runs_is_seen_later(namespace: str, facts: Facts) -> None:
    model = given_a_registered_model(facts, "1", "2", champion=1)
    wine = given_a_deployment(namespace, model.at("champion"))
    then_is_served(wine, 1)

    when_the_operator_is_stopped()
    try:
        when_the_alias_moves(model, "champion", 2)
        when_the_spec_changes(wine, scaling={"minReplicas": 2})
        then_it_answers(wine, "1")
    finally:
        when_the_operator_is_back()

    then_is_served(wine, 2)
    wait_for(wine, "2 pods are ready", lambda: wine.status["stable"].get("readyReplicas") == 2)


@pytest.mark.parametrize("flags", [[], ["--server-side"]], ids=["client-side", "server-side"])
def test_applying_the_same_again_changes_nothing(
    flags: list[str], namespace: str, facts: Facts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import yaml

    uri = given_a_registered_model(facts, "1").version(1)
    stated = manifest(namespace, "wine", uri)
    stated["metadata"]["labels"] = {"team": "cellar"}
    file = tmp_path_factory.mktemp("gitops") / "wine.yaml"
    file.write_text(yaml.safe_dump(stated))
    command = ["apply", *flags, f"--filename={file}"]

    kubectl(*command)
    wine = DeployedModel(namespace, "wine")
    then_is_served(wine, 1)
    before = wine.resource
    kubectl(*command)
    kubectl("diff", *flags, f"--filename={file}")  # fails where there is a difference
    after = wine.resource

    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert after["metadata"]["generation"] == 1
    assert after["metadata"]["labels"] == {"team": "cellar"}
    assert _written_by_operator(after) == {"status"}
    assert "finalizers" not in after["metadata"]


def _written_by_operator(resource: KubeObject) -> set[str]:
    """The parts of the resource (spec, metadata, status) that the operator has ever written."""
    return {
        field.removeprefix("f:")
        for entry in resource["metadata"]["managedFields"]
        if entry["manager"] == "mlflow-model-operator"
        for field in entry["fieldsV1"]
    }


def _all_ready(deployed: DeployedModel) -> bool:
    parts = [deployed.status["stable"], deployed.status["canary"]]
    return all(part.get("readyReplicas") == 2 for part in parts)


def _versions(deployed: DeployedModel) -> dict[str, str]:
    """Resource version by kind and name: of the resource, its children and its pods."""
    objects = [deployed.resource, *children_of(deployed), *children_of(deployed, kube.POD)]
    return {
        f"{obj.get('kind')} {obj['metadata']['name']} {obj['metadata']['uid']}": obj["metadata"][
            "resourceVersion"
        ]
        for obj in objects
    }
