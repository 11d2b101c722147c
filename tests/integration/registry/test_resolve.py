"""Every form of model URI, asked of a real MLflow server."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_model_operator.api.model_version import ModelVersion
from tests.integration.registry.conftest import KEY, Follow, Following, Wine
from tests.integration.tracking_server import TrackingServer

PYTHON = platform.python_version()


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("models:/wine/1", "1"),
        ("models:/wine/2", "2"),
        ("models:/wine@champion", "1"),
        ("models:/wine@challenger", "2"),
        ("models:/wine@latest", "2"),
        ("models:/wine/Production", "1"),
        ("models:/wine/production", "1"),
        ("models:/wine/latest", "2"),
        ("models:/wine/None", "2"),
    ],
)
async def test_a_registered_model(following: Following, wine: Wine, uri: str, version: str) -> None:
    """Version 1 is a logged model, which pods fetch; version 2 is files, as before MLflow 3."""
    server = wine.client.tracking_uri
    created = wine.client.get_model_version("wine", version).creation_timestamp
    logged = (f"models:/{wine.model_id}", None)
    fetched, age = logged if version == "1" else (f"models:/wine/{version}", created)
    assert await following.resolve(uri) == ModelVersion(
        uri, fetched, version, server, "wine", PYTHON, age
    )


async def test_a_version_that_is_deleted_and_registered_again_is_another(
    following: Following, wine: Wine, new_model: Callable[[], str]
) -> None:
    client, name = wine.client, new_model()
    first = await following.resolve(f"models:/{name}@champion")
    client.delete_registered_model(name)
    client.create_registered_model(name)
    client.create_model_version(name, "s3://models/none")
    client.set_registered_model_alias(name, "champion", "1")
    await following.until_notified(KEY)

    again = await following.resolve(f"models:/{name}@champion")

    assert (again.uri, again.version) == (first.uri, first.version)
    assert not again.is_same(first)


async def test_a_version_that_is_deleted_is_missed(
    following: Following, wine: Wine, new_model: Callable[[], str]
) -> None:
    name = new_model()
    await following.resolve(f"models:/{name}/1")
    wine.client.delete_model_version(name, "1")
    await following.until_notified(KEY)
    assert (await following.failure(f"models:/{name}/1")).reason == "VersionNotFound"


async def test_the_python_version_of_a_version_that_names_a_runs_model(
    following: Following, wine: Wine, new_model: Callable[[], str]
) -> None:
    name, source = new_model(), f"runs:/{wine.old_run_id}/model"
    version = wine.client.create_model_version(name, source, wine.old_run_id).version
    assert (await following.resolve(f"models:/{name}/{version}")).python_version == PYTHON


async def test_a_logged_model(following: Following, wine: Wine) -> None:
    uri = f"models:/{wine.model_id}"
    expected = ModelVersion(uri, uri, wine.model_id, wine.client.tracking_uri, None, PYTHON)
    assert await following.resolve(uri) == expected


@pytest.mark.parametrize("run", ["run_id", "old_run_id"], ids=["MLflow 3", "MLflow 2"])
async def test_a_model_of_a_run(following: Following, wine: Wine, run: str) -> None:
    run_id = getattr(wine, run)
    uri = f"runs:/{run_id}/model"
    expected = ModelVersion(uri, uri, run_id, wine.client.tracking_uri, None, PYTHON)
    assert await following.resolve(uri) == expected


async def test_what_pods_see_is_what_mlflow_itself_finds(following: Following, wine: Wine) -> None:
    for alias in ("champion", "challenger"):
        mlflows = wine.client.get_model_version_by_alias("wine", alias)
        assert (await following.resolve(f"models:/wine@{alias}")).version == mlflows.version


@pytest.mark.parametrize("uri", ["s3://bucket/wine", "gs://bucket/wine", "/mnt/models/wine"])
async def test_a_storage_uri_needs_no_server(follow: Follow, uri: str) -> None:
    assert await follow(None).resolve(uri) == ModelVersion(uri, uri, "-")


async def test_proxied_artifacts_need_a_server_but_ask_it_nothing(follow: Follow) -> None:
    uri = "mlflow-artifacts:/1/models/m-1/artifacts"
    server = "http://mlflow.invalid:5000"
    assert await follow(server).resolve(uri) == ModelVersion(uri, uri, "-", server)


@pytest.mark.parametrize("uri", ["models:/wine@champion", "runs:/1/model", "mlflow-artifacts:/1"])
async def test_without_a_server_the_fix_is_named(follow: Follow, uri: str) -> None:
    error = await follow(None).failure(uri)
    assert error.reason == "TrackingUriMissing"
    assert "spec.model.trackingUri" in error.message


async def test_a_tracking_uri_of_the_resource_wins(follow: Follow, wine: Wine) -> None:
    resolved = await follow("http://mlflow.invalid").resolve(
        "models:/wine/1", wine.client.tracking_uri
    )
    assert resolved.tracking_uri == wine.client.tracking_uri


async def test_a_trailing_slash_names_no_other_server(follow: Follow, wine: Wine) -> None:
    resolved = await follow(None).resolve("models:/wine/1", f"{wine.client.tracking_uri}/")
    assert resolved.tracking_uri == wine.client.tracking_uri


@pytest.mark.parametrize(
    ("uri", "reason", "words"),
    [
        ("models:/beer@champion", "ModelNotFound", "registered model 'beer': register it"),
        ("models:/beer/1", "VersionNotFound", "version 1 of registered model 'beer'"),
        ("models:/wine/99", "VersionNotFound", "use another version"),
        (
            "models:/wine@nobody",
            "AliasNotFound",
            "has no alias 'nobody': set the alias on a version",
        ),
        ("models:/wine/Staging", "StageEmpty", "no version in stage Staging"),
        (f"models:/m-{'0' * 32}", "LoggedModelNotFound", "correct the id"),
        (f"runs:/{'0' * 32}/model", "RunNotFound", "correct the id"),
    ],
)
async def test_what_is_missing_is_named(
    following: Following, wine: Wine, uri: str, reason: str, words: str
) -> None:
    error = await following.failure(uri)
    assert error.reason == reason
    assert words in error.message
    assert wine.client.tracking_uri in error.message
    assert error.last_resolved is None


async def test_no_uri_at_all(following: Following) -> None:
    assert (await following.failure("wine")).reason == "InvalidUri"


async def test_a_model_without_versions(
    following: Following, mlflow_server: TrackingServer
) -> None:
    mlflow_server.register("empty", versions=0)
    error = await following.failure("models:/empty/latest")
    assert (error.reason, "register one" in error.message) == ("VersionNotFound", True)


async def test_a_name_with_strange_characters(
    following: Following, mlflow_server: TrackingServer
) -> None:
    name = "Weiß & rot #1 100%25 a+b"
    mlflow_server.register(name)
    mlflow_server.point(name, "champion", "1")
    resolved = await following.resolve(f"models:/{name}@champion")
    assert (resolved.uri, resolved.python_version) == (f"models:/{name}/1", None)


async def test_a_version_that_is_not_ready(
    following: Following, mlflow_folder: Path, new_model: Callable[[], str]
) -> None:
    name = new_model()
    _set_status(mlflow_folder, name, "PENDING_REGISTRATION")
    error = await following.failure(f"models:/{name}@champion")
    assert error.reason == "VersionNotReady"
    assert "PENDING_REGISTRATION" in error.message

    _set_status(mlflow_folder, name, "READY")
    await following.until_notified(KEY)
    assert (await following.resolve(f"models:/{name}@champion")).version == "1"


async def test_a_logged_model_that_is_not_ready(following: Following, wine: Wine) -> None:
    client: MlflowClient = wine.client
    model = client.create_logged_model("0", name="unfinished")
    error = await following.failure(f"models:/{model.model_id}")
    assert (error.reason, "PENDING" in error.message) == ("VersionNotReady", True)

    client.finalize_logged_model(model.model_id, "READY")
    await following.until_notified(KEY)
    assert (await following.resolve(f"models:/{model.model_id}")).version == model.model_id


def _set_status(mlflow_folder: Path, name: str, status: str) -> None:
    """MLflow's own store sets a version ready at once; other stores take their time."""
    with sqlite3.connect(mlflow_folder / "mlflow.db", timeout=30) as database:
        database.execute("UPDATE model_versions SET status = ? WHERE name = ?", (status, name))
