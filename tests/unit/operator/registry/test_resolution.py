"""From what is known of a server to what a URI means, without any server."""

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
    meaning,
    subject,
)

SERVER = "http://mlflow:5000"
WINE = RegisteredModelMetadata(
    aliases={"champion": "3", "Champion": "1"},
    stages={"Production": "2", "None": "10", "Archived": "9"},
    latest="10",
)
FACTS = VersionMetadata("3.11.7")
MISSING = Failure(Reason.MODEL_NOT_FOUND, "no such model")
AWAY = Failure(Reason.REGISTRY_UNREACHABLE, "nobody there", of_server=True)

Answers = dict[Query, Result]


def what(uri: str, answers: Answers) -> ModelVersion | Failure | Query:
    parsed = model_uri.parse(uri)
    assert not isinstance(parsed, model_uri.StorageModel)
    return meaning(uri, parsed, SERVER, answers.get)


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
    answers: Answers = {ModelQuery("wine"): WINE, VersionQuery("wine", version): FACTS}
    assert what(uri, answers) == ModelVersion(
        requested=uri,
        uri=f"models:/wine/{version}",
        version=version,
        tracking_uri=SERVER,
        name="wine",
        python_version="3.11.7",
    )


@pytest.mark.parametrize(
    ("uri", "lookup", "version"),
    [
        ("models:/m-1a2b", LoggedModelQuery("m-1a2b"), "m-1a2b"),
        ("runs:/0a1b/models/wine", RunQuery("0a1b", "models/wine"), "0a1b"),
    ],
)
def test_what_is_not_registered_is_its_own_meaning(uri: str, lookup: Query, version: str) -> None:
    assert what(uri, {}) == lookup
    expected = ModelVersion(uri, uri, version, SERVER, None, "3.11.7")
    assert what(uri, {lookup: FACTS}) == expected


@pytest.mark.parametrize(
    ("uri", "answers", "next_lookup"),
    [
        ("models:/wine/3", {}, VersionQuery("wine", "3")),
        ("models:/wine@champion", {}, ModelQuery("wine")),
        ("models:/wine@champion", {ModelQuery("wine"): WINE}, VersionQuery("wine", "3")),
        ("models:/wine/latest", {ModelQuery("beer"): WINE}, ModelQuery("wine")),
    ],
)
def test_what_is_missing_is_asked_next(uri: str, answers: Answers, next_lookup: Query) -> None:
    assert what(uri, answers) == next_lookup


@pytest.mark.parametrize(
    ("uri", "model", "reason", "words"),
    [
        ("models:/wine@nobody", WINE, "AliasNotFound", "has no alias 'nobody': set the alias"),
        (
            "models:/wine@nobody",
            RegisteredModelMetadata(),
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
    failure = what(uri, {ModelQuery("wine"): model})
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert words in failure.message
    assert "'wine'" in failure.message
    assert SERVER in failure.message


@pytest.mark.parametrize("failure", [MISSING, AWAY])
@pytest.mark.parametrize(
    ("uri", "lookup"),
    [
        ("models:/wine@champion", ModelQuery("wine")),
        ("models:/wine/3", VersionQuery("wine", "3")),
        ("models:/m-1a2b", LoggedModelQuery("m-1a2b")),
        ("runs:/0a1b/model", RunQuery("0a1b", "model")),
    ],
)
def test_a_failed_lookup_is_the_answer(uri: str, lookup: Query, failure: Failure) -> None:
    assert what(uri, {lookup: failure}) == failure


def test_the_version_may_fail_where_the_alias_does_not() -> None:
    answers: Answers = {ModelQuery("wine"): WINE, VersionQuery("wine", "3"): MISSING}
    assert what("models:/wine@champion", answers) == MISSING


@pytest.mark.parametrize(
    "uri",
    ["models:/wine@champion", "models:/wine/3", "models:/wine/latest", "models:/m-1", "runs:/1/m"],
)
def test_a_uri_and_all_its_lookups_have_one_subject(uri: str) -> None:
    parsed = model_uri.parse(uri)
    assert not isinstance(parsed, model_uri.StorageModel)
    answers: Answers = {}
    while isinstance(found := what(uri, answers), Query):
        assert subject(found) == subject(parsed)
        answers[found] = WINE if isinstance(found, ModelQuery) else FACTS
    assert isinstance(found, ModelVersion)
