"""A model is served, whatever way its URI names it, and answers as it does in Python."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dev.traffic import Request
from e2e import models
from e2e.models import Facts
from e2e.platform import storages
from e2e.platform.built import ensure_built_image
from e2e.steps import (
    given_a_deployment,
    given_a_registered_model,
    given_objects,
    then_condition,
    then_is_served,
    then_it_answers,
    then_kubectl_shows,
)
from e2e.steps.given import registry_client

MOUNT = "/mnt/models"


def test_predictions_are_those_of_python(namespace: str, facts: Facts) -> None:
    wine = given_a_deployment(namespace, "models:/wine/2")

    then_condition(wine, "Available", "True", "MinimumReplicasAvailable")
    then_is_served(wine, 2)
    expected = facts.wine_predictions["2"]
    one_row = Request(wine.endpoint, facts.wine_rows[0], facts.wine_columns)
    then_it_answers(wine, expected[0], one_row)
    assert wine.endpoint.predict(facts.wine_rows, facts.wine_columns) == expected
    then_kubectl_shows(wine, "models:/wine/2", "True", wine.endpoint.hostname)


@pytest.mark.slow
def test_an_image_of_mlflow_build_docker_is_served(namespace: str, facts: Facts) -> None:
    if not facts.own_cluster:
        pytest.skip("the image is not on this cluster")
    image = ensure_built_image("1")
    model = given_a_registered_model(facts, "1")

    wine = given_a_deployment(namespace, model.version(1), server={"image": image})

    then_is_served(wine, 1)
    then_it_answers(wine, "1")


@dataclass(frozen=True)
class Named:
    """A model URI, what else the resource needs for it, and the version that status tells."""

    uri: str
    version: str
    spec: dict[str, Any] = field(default_factory=dict)


def by_version(facts: Facts, _: str) -> Named:
    return Named(given_a_registered_model(facts, "2", "1").version(2), "2")


def by_alias(facts: Facts, _: str) -> Named:
    return Named(given_a_registered_model(facts, "2", "1", "3", best=2).at("best"), "2")


def by_latest(facts: Facts, _: str) -> Named:
    return Named(given_a_registered_model(facts, "2", "1").version("latest"), "2")


def by_stage_in_any_case(facts: Facts, _: str) -> Named:
    model = given_a_registered_model(facts, "2", "1", "3")
    registry_client().transition_model_version_stage(model.name, "2", "Production")
    return Named(model.version("pRoDuction"), "2")


def by_logged_model(facts: Facts, _: str) -> Named:
    logged = facts.logged["1"]
    return Named(logged.uri, logged.model_id)


def by_run(facts: Facts, _: str) -> Named:
    run = facts.logged["1"].run_id
    return Named(f"runs:/{run}/model", run)


def by_artifacts_of_the_server(facts: Facts, _: str) -> Named:
    return Named(facts.logged["1"].artifacts, "-")


def by_s3_bucket(facts: Facts, namespace: str) -> Named:
    if not facts.own_cluster:
        pytest.skip("the object stores' image is not on this cluster")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bucket"},
        "stringData": {name.upper(): value for name, value in storages.S3_KEYS.items()},
    }
    given_objects(namespace, secret)
    env = [{"name": "MLFLOW_S3_ENDPOINT_URL", "value": storages.S3.url}]
    spec = {"model": {"credentialsSecret": "bucket"}, "server": {"env": env}}
    return Named(f"s3://{storages.BUCKET}/{storages.PREFIX}", "-", spec)


def by_gcs_bucket(facts: Facts, _: str) -> Named:
    if not facts.own_cluster:
        pytest.skip("the object stores' image is not on this cluster")
    env = [{"name": "STORAGE_EMULATOR_HOST", "value": storages.GCS.url}]
    return Named(f"gs://{storages.BUCKET}/{storages.PREFIX}", "-", {"server": {"env": env}})


def by_path_on_a_volume(_: Facts, namespace: str) -> Named:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        models.save("1", model)
        files = {path: content.decode() for path, content in models.files_below(model)}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wine-files"}}
    given_objects(namespace, {**config_map, "data": files})
    volume = {"name": "models", "configMap": {"name": "wine-files"}}
    mount = {"name": "models", "mountPath": f"{MOUNT}/wine", "readOnly": True}
    return Named(f"{MOUNT}/wine", "-", {"pod": {"volumes": [volume], "volumeMounts": [mount]}})


FORMS = [
    *(by_version, by_alias, by_latest, by_stage_in_any_case, by_logged_model, by_run),
    *(by_artifacts_of_the_server, by_s3_bucket, by_gcs_bucket, by_path_on_a_volume),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_uri_is_served(
    form: Callable[[Facts, str], Named], namespace: str, facts: Facts
) -> None:
    named = form(facts, namespace)

    wine = given_a_deployment(namespace, named.uri, **named.spec)

    status = then_is_served(wine, named.version)
    assert status["stable"]["requestedUri"] == named.uri
    then_it_answers(wine, "1")
