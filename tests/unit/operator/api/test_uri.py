"""Every form of a model URI is told apart, and what is none is refused with help."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.store.artifact.utils.models import _parse_model_uri

from mlflow_model_operator.api import uri
from mlflow_model_operator.api.uri import (
    LoggedModel,
    RegisteredAlias,
    RegisteredLatest,
    RegisteredStage,
    RegisteredVersion,
    StorageModel,
)
from tests.unit.operator.api.model_uris import READ, REFUSED

names = st.text(
    st.characters(exclude_characters="/:?", exclude_categories=("Cc", "Cs")), min_size=1
).filter(lambda name: not name[0].isspace())
aliases = st.text(
    st.characters(exclude_characters="/:?@#", exclude_categories=("Z", "C")), min_size=1
)


@pytest.mark.parametrize("text", READ)
def test_reads(text: str) -> None:
    assert uri.parse(text) == READ[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_with_help(text: str) -> None:
    with pytest.raises(uri.InvalidModelUri) as refusal:
        uri.parse(text)
    assert REFUSED[text] in str(refusal.value)


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(uri.InvalidModelUri) as refusal:
        uri.parse("https://user:hunter2@example.com/wine")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["/mnt/models/wine", "file:///mnt/models/wine", "file:/mnt/models/wine"]
)
def test_the_path_of_a_model_on_a_volume(text: str) -> None:
    parsed = uri.parse(text)
    assert isinstance(parsed, StorageModel)
    assert parsed.path == "/mnt/models/wine"


@given(names, aliases)
def test_any_name_and_alias_come_back(name: str, alias: str) -> None:
    assert uri.parse(f"models:/{name}@{alias}") == RegisteredAlias(name, alias)


@given(names, st.integers(0, 10**17))
def test_any_name_and_version_come_back(name: str, version: int) -> None:
    assert uri.parse(f"models:/{name}/{version}") == RegisteredVersion(name, str(version))


@given(names, st.sampled_from(uri.STAGES), st.data())
def test_stages_in_any_case(name: str, stage: str, data: st.DataObject) -> None:
    written = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in stage)
    assert uri.parse(f"models:/{name}/{written}") == RegisteredStage(name, stage)


@given(
    st.text(max_size=40)
    | st.sampled_from(sorted(READ))
    | st.from_regex(r"\A(models|runs|s3|file):/{0,3}[a-z@/.: -]*\Z")
)
def test_any_text_is_read_or_refused_with_help(text: str) -> None:
    try:
        uri.parse(text)
    except uri.InvalidModelUri as refusal:
        assert "write" in str(refusal) or "leave" in str(refusal)


@given(names, st.sampled_from(["@champion", "/3", "/latest", "/LATEST", "/staging", "/None"]))
def test_mlflow_reads_the_same(name: str, suffix: str) -> None:
    theirs = _parse_model_uri(f"models:/{name}{suffix}")
    match uri.parse(f"models:/{name}{suffix}"):
        case RegisteredVersion(name, version):
            assert theirs == (None, name, version, None, None)
        case RegisteredAlias(name, alias):
            assert theirs == (None, name, None, None, alias)
        case RegisteredStage(name, stage):
            assert theirs == (None, name, None, suffix[1:], None)
            assert stage.lower() == suffix[1:].lower()
        case RegisteredLatest(name):
            assert theirs == (None, name, None, None, None)
        case other:
            pytest.fail(f"{other} names no registered model")


@given(st.from_regex(r"\Am-[0-9a-zA-Z]+\Z"))
def test_mlflow_reads_logged_models_the_same(model_id: str) -> None:
    assert uri.parse(f"models:/{model_id}") == LoggedModel(model_id)
    assert _parse_model_uri(f"models:/{model_id}").model_id == model_id
