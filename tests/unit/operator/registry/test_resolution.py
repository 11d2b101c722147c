"""From what is known of a server to what a URI means, without any server."""

from __future__ import annotations

import pytest

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.registry.resolution import (
    Answer,
    Failure,
    LoggedModelLookup,
    Lookup,
    ModelLookup,
    RegisteredModel,
    RunLookup,
    VersionFacts,
    VersionLookup,
    meaning,
    subject,
)

SERVER = "http://mlflow:5000"
WINE = RegisteredModel(
    aliases={"champion": "3", "Champion": "1"},
    stages={"Production": "2", "None": "10", "Archived": "9"},
    latest="10",
)
FACTS = VersionFacts("3.11.7")
MISSING = Failure("ModelNotFound", "no such model")
AWAY = Failure("RegistryUnreachable", "nobody there", of_server=True)

Answers = dict[Lookup, Answer]


def what(uri: str, answers: Answers) -> ModelVersion | Failure | Lookup:
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
    answers: Answers = {ModelLookup("wine"): WINE, VersionLookup("wine", version): FACTS}
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
        ("models:/m-1a2b", LoggedModelLookup("m-1a2b"), "m-1a2b"),
        ("runs:/0a1b/models/wine", RunLookup("0a1b", "models/wine"), "0a1b"),
    ],
)
def test_what_is_not_registered_is_its_own_meaning(uri: str, lookup: Lookup, version: str) -> None:
    assert what(uri, {}) == lookup
    expected = ModelVersion(uri, uri, version, SERVER, None, "3.11.7")
    assert what(uri, {lookup: FACTS}) == expected


@pytest.mark.parametrize(
    ("uri", "answers", "next_lookup"),
    [
        ("models:/wine/3", {}, VersionLookup("wine", "3")),
        ("models:/wine@champion", {}, ModelLookup("wine")),
        ("models:/wine@champion", {ModelLookup("wine"): WINE}, VersionLookup("wine", "3")),
        ("models:/wine/latest", {ModelLookup("beer"): WINE}, ModelLookup("wine")),
    ],
)
def test_what_is_missing_is_asked_next(uri: str, answers: Answers, next_lookup: Lookup) -> None:
    assert what(uri, answers) == next_lookup


@pytest.mark.parametrize(
    ("uri", "model", "reason", "words"),
    [
        ("models:/wine@nobody", WINE, "AliasNotFound", "(its aliases: Champion, champion)"),
        ("models:/wine@nobody", RegisteredModel(), "AliasNotFound", "(its aliases: none)"),
        ("models:/wine/Staging", WINE, "StageEmpty", "no version in stage Staging"),
        ("models:/wine/latest", RegisteredModel(), "VersionNotFound", "no version yet"),
        ("models:/wine@latest", RegisteredModel(), "VersionNotFound", "no version yet"),
    ],
)
def test_a_name_that_points_nowhere(
    uri: str, model: RegisteredModel, reason: str, words: str
) -> None:
    failure = what(uri, {ModelLookup("wine"): model})
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert words in failure.message
    assert "'wine'" in failure.message
    assert SERVER in failure.message


@pytest.mark.parametrize("failure", [MISSING, AWAY])
@pytest.mark.parametrize(
    ("uri", "lookup"),
    [
        ("models:/wine@champion", ModelLookup("wine")),
        ("models:/wine/3", VersionLookup("wine", "3")),
        ("models:/m-1a2b", LoggedModelLookup("m-1a2b")),
        ("runs:/0a1b/model", RunLookup("0a1b", "model")),
    ],
)
def test_a_failed_lookup_is_the_answer(uri: str, lookup: Lookup, failure: Failure) -> None:
    assert what(uri, {lookup: failure}) == failure


def test_the_version_may_fail_where_the_alias_does_not() -> None:
    answers: Answers = {ModelLookup("wine"): WINE, VersionLookup("wine", "3"): MISSING}
    assert what("models:/wine@champion", answers) == MISSING


@pytest.mark.parametrize(
    "uri",
    ["models:/wine@champion", "models:/wine/3", "models:/wine/latest", "models:/m-1", "runs:/1/m"],
)
def test_a_uri_and_all_its_lookups_have_one_subject(uri: str) -> None:
    parsed = model_uri.parse(uri)
    assert not isinstance(parsed, model_uri.StorageModel)
    answers: Answers = {}
    while isinstance(found := what(uri, answers), Lookup):
        assert subject(found) == subject(parsed)
        answers[found] = WINE if isinstance(found, ModelLookup) else FACTS
    assert isinstance(found, ModelVersion)
