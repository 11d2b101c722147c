"""From the results of queries to what a URI resolves to, without any server."""

from __future__ import annotations

import pytest

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.registry.resolution import (
    Failure,
    LoggedModelQuery,
    ModelQuery,
    Query,
    RegisteredModelMetadata,
    Result,
    RunQuery,
    VersionMetadata,
    VersionQuery,
    resolve,
    subject,
)

SERVER = "http://mlflow:5000"
WINE = RegisteredModelMetadata(
    aliases={"champion": "3", "Champion": "1", "nobody": None},
    stages={"Production": "2", "None": "10", "Archived": "9"},
    latest="10",
)
METADATA = VersionMetadata("3.11.7")
MISSING = Failure(Reason.MODEL_NOT_FOUND, "no such model")
AWAY = Failure(Reason.REGISTRY_UNREACHABLE, "nobody there", of_server=True)

Results = dict[Query, Result]


def resolved(uri: str, results: Results) -> ModelVersion | Failure | Query:
    parsed = model_uri.parse(uri)
    assert not isinstance(parsed, model_uri.StorageModel)
    return resolve(uri, parsed, SERVER, results.get)


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("models:/wine/7", "7"),
        ("models:/wine/007", "7"),
        ("models:/wine@champion", "3"),
        ("models:/wine@Champion", "1"),
        ("models:/wine@latest", "10"),
        ("models:/wine@Latest", "10"),
        ("models:/wine/latest", "10"),
        ("models:/wine/LATEST", "10"),
        ("models:/wine/Production", "2"),
        ("models:/wine/PRODUCTION", "2"),
        ("models:/wine/none", "10"),
    ],
)
def test_a_registered_models_version(uri: str, version: str) -> None:
    results: Results = {ModelQuery("wine"): WINE, VersionQuery("wine", version): METADATA}
    assert resolved(uri, results) == ModelVersion(
        requested=uri,
        uri=f"models:/wine/{version}",
        version=version,
        tracking_uri=SERVER,
        name="wine",
        python_version="3.11.7",
    )


def test_pods_fetch_the_logged_model_that_a_version_is() -> None:
    metadata = VersionMetadata("3.11.7", model_id="m-1a2b", created=1_700_000_000_000)
    resolution = resolved("models:/wine/3", {VersionQuery("wine", "3"): metadata})
    assert isinstance(resolution, ModelVersion)
    assert (resolution.uri, resolution.display_uri) == ("models:/m-1a2b", "models:/wine/3")
    assert (resolution.name, resolution.version, resolution.created) == ("wine", "3", None)


def test_a_version_of_files_alone_is_known_by_when_it_was_registered() -> None:
    metadata = VersionMetadata("3.11.7", created=1_700_000_000_000)
    resolution = resolved("models:/wine/3", {VersionQuery("wine", "3"): metadata})
    assert isinstance(resolution, ModelVersion)
    assert (resolution.uri, resolution.created) == ("models:/wine/3", 1_700_000_000_000)


@pytest.mark.parametrize(
    ("uri", "query", "version"),
    [
        ("models:/m-1a2b", LoggedModelQuery("m-1a2b"), "m-1a2b"),
        ("runs:/0a1b/models/wine", RunQuery("0a1b", "models/wine"), "0a1b"),
    ],
)
def test_what_is_not_registered_resolves_to_itself(uri: str, query: Query, version: str) -> None:
    assert resolved(uri, {}) == query
    expected = ModelVersion(uri, uri, version, SERVER, None, "3.11.7")
    assert resolved(uri, {query: METADATA}) == expected


@pytest.mark.parametrize(
    ("uri", "results", "next_query"),
    [
        ("models:/wine/3", {}, VersionQuery("wine", "3")),
        ("models:/wine@champion", {}, ModelQuery("wine")),
        ("models:/wine@champion", {ModelQuery("wine"): WINE}, VersionQuery("wine", "3")),
        ("models:/wine/latest", {ModelQuery("beer"): WINE}, ModelQuery("wine")),
        # Nobody had followed this alias when the model was asked for.
        ("models:/wine@another", {ModelQuery("wine"): WINE}, ModelQuery("wine")),
    ],
)
def test_what_is_missing_is_queried_next(uri: str, results: Results, next_query: Query) -> None:
    assert resolved(uri, results) == next_query


@pytest.mark.parametrize(
    ("uri", "model", "reason", "words"),
    [
        ("models:/wine@nobody", WINE, "AliasNotFound", "has no alias 'nobody': set the alias"),
        (
            "models:/wine@nobody",
            RegisteredModelMetadata(aliases={"nobody": None}),
            "AliasNotFound",
            "has no alias 'nobody': set the alias",
        ),
        ("models:/wine/Staging", WINE, "StageEmpty", "no version in stage Staging"),
        (
            "models:/wine/latest",
            RegisteredModelMetadata(),
            "VersionNotFound",
            "has no versions: register one",
        ),
        (
            "models:/wine@latest",
            RegisteredModelMetadata(),
            "VersionNotFound",
            "has no versions: register one",
        ),
    ],
)
def test_a_name_that_points_nowhere(
    uri: str, model: RegisteredModelMetadata, reason: str, words: str
) -> None:
    failure = resolved(uri, {ModelQuery("wine"): model})
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert words in failure.message
    assert "'wine'" in failure.message
    assert SERVER in failure.message


@pytest.mark.parametrize("failure", [MISSING, AWAY])
@pytest.mark.parametrize(
    ("uri", "query"),
    [
        ("models:/wine@champion", ModelQuery("wine")),
        ("models:/wine/3", VersionQuery("wine", "3")),
        ("models:/m-1a2b", LoggedModelQuery("m-1a2b")),
        ("runs:/0a1b/model", RunQuery("0a1b", "model")),
    ],
)
def test_a_failed_query_is_the_answer(uri: str, query: Query, failure: Failure) -> None:
    assert resolved(uri, {query: failure}) == failure


def test_the_version_may_fail_where_the_alias_does_not() -> None:
    results: Results = {ModelQuery("wine"): WINE, VersionQuery("wine", "3"): MISSING}
    assert resolved("models:/wine@champion", results) == MISSING


@pytest.mark.parametrize(
    "uri",
    ["models:/wine@champion", "models:/wine/3", "models:/wine/latest", "models:/m-1", "runs:/1/m"],
)
def test_a_uri_and_all_its_queries_have_one_subject(uri: str) -> None:
    parsed = model_uri.parse(uri)
    assert not isinstance(parsed, model_uri.StorageModel)
    results: Results = {}
    while isinstance(result := resolved(uri, results), Query):
        assert subject(result) == subject(parsed)
        results[result] = WINE if isinstance(result, ModelQuery) else METADATA
    assert isinstance(result, ModelVersion)
