"""The signature in an MLmodel file, as MLflow itself writes it and as nobody should."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from mlflow_model_operator.api.signature import Signature
from mlflow_model_operator.registry.mlmodel import read_signature

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
COLUMNS = st.lists(
    st.builds(ColSpec, st.sampled_from(list(DataType)), NAMES, st.booleans()),
    min_size=1,
    max_size=20,
    unique_by=lambda column: column.name,
)


def written(signature: ModelSignature | None) -> str:
    text: str = Model(signature=signature, flavors={"python_function": {"env": "x"}}).to_yaml()
    return text


def parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


@given(inputs=COLUMNS, outputs=COLUMNS)
def test_whatever_mlflow_writes_is_read(inputs: list[ColSpec], outputs: list[ColSpec]) -> None:
    params = ParamSchema([ParamSpec("it's", DataType.string, "o'clock")])
    signature = ModelSignature(Schema(inputs), Schema(outputs), params)
    found = read_signature(written(signature), is_complete=True)
    assert found is not None
    assert parsed(found.inputs) == Schema(inputs).to_dict()
    assert parsed(found.outputs) == Schema(outputs).to_dict()
    assert parsed(found.params) == params.to_dict()


def test_a_part_of_a_signature_may_be_missing() -> None:
    schema = Schema([ColSpec(DataType.double, "a")])
    found = read_signature(written(ModelSignature(inputs=schema)), is_complete=True)
    assert found == Signature(inputs=json.dumps(schema.to_dict()))


def test_a_model_may_have_no_signature_and_a_file_that_was_cut_says_nothing() -> None:
    assert read_signature(written(None), is_complete=True) == Signature()
    assert read_signature(written(None), is_complete=False) is None


def test_a_signature_that_is_cut_is_not_read() -> None:
    schema = Schema([ColSpec(DataType.double, f"column {number}") for number in range(50)])
    text = written(ModelSignature(schema, schema))
    start = text.index("signature:")
    for end in range(start, text.index("  params"), 97):
        assert read_signature(text[:end], is_complete=False) is None


@pytest.mark.parametrize(
    "text",
    [
        "signature: {inputs: '[]'}\n",
        "signature:\n  inputs: [1]\n",
        "signature:\n  inputs: &a '[]'\n",
        'signature:\n  inputs: "[]"\n',
        "signature:\n  inputs: '[\n",
        "signature:\n  inputs: '[\nother: ']'\n",
        "signature:\n  inputs: |\n    []\n",
    ],
)
def test_what_mlflow_would_not_write_is_not_read(text: str) -> None:
    assert read_signature(text, is_complete=True) is None


def test_a_long_file_is_read_in_linear_time() -> None:
    quotes = "signature:\n  inputs: '\n" + "    ''\n" * 100_000
    assert read_signature(quotes, is_complete=True) is None
    assert read_signature("signature\n  inputs: null\n" * 100_000, is_complete=True) == Signature()
