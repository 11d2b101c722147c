"""Errors say what is wrong, and nothing of what was sent: by a bound, whatever they hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, ColSpec, DataType, Object, Property

from mlflow_model_server.inference.mlflow_fallback import Fallback
from mlflow_model_server.inference.sentences import sentence_of
from mlflow_model_server.responses import MAX_MESSAGE, ErrorResponse

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
SECRET = "jane.doe"
PERSON = Object([Property("age", DataType.long)])
COLUMNS = ModelSignature(
    Schema(
        [
            ColSpec("double", "alcohol"),
            ColSpec("string", "colour"),
            ColSpec("datetime", "when", required=False),
            ColSpec("long", "count", required=False),
            ColSpec("binary", "image", required=False),
            ColSpec("boolean", "flag", required=False),
            ColSpec(PERSON, "person", required=False),
            ColSpec(Array(DataType.long), "sizes", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("scale", "double", 1.0)]),
)
TENSOR = ModelSignature(Schema([TensorSpec(np.dtype("float64"), (-1, 2))]))
GOOD: dict[str, Any] = {"alcohol": 1.0, "colour": "red"}
# In all the places that a client can put something into.
CELLS = (
    ("alcohol", SECRET),
    ("alcohol", [SECRET]),
    ("alcohol", {SECRET: 1}),
    ("when", SECRET),
    ("when", f"2026-{SECRET}"),
    ("count", SECRET),
    ("image", f"é{SECRET}"),
    ("image", 7),
    ("flag", SECRET),
    ("person", SECRET),
    ("person", {"age": SECRET}),
    ("person", {SECRET: 1}),
    ("person", {"a": f"'{SECRET}' \"{SECRET}\" `{SECRET}` [{SECRET}"}),
    ("sizes", SECRET),
    ("sizes", [SECRET]),
    ("sizes", {SECRET: 2}),
    (SECRET, 1),
)


class Stub:
    def predict(self, data: Any, params: Any = None) -> list[int]:
        return [1]


def fallback(signature: ModelSignature | None) -> Fallback:
    return Fallback(PyFuncModel(model_meta=Model(signature=signature), model_impl=Stub()))


def bad_bodies() -> Iterator[tuple[str, str]]:
    for name, value in CELLS:
        row = {**GOOD, name: value}
        yield json.dumps({"dataframe_records": [row]}), JSON
        split = {"columns": list(row), "data": [list(row.values())]}
        yield json.dumps({"dataframe_split": split}), JSON
        yield json.dumps({"instances": [row]}), JSON
        yield json.dumps({"inputs": {key: [cell] for key, cell in row.items()}}), JSON
    yield from (
        (json.dumps(body), JSON)
        for body in (
            {"dataframe_records": [{SECRET: 1, "colour": SECRET}]},
            {"dataframe_records": [GOOD], "params": {"scale": SECRET}},
            {"dataframe_records": [GOOD], "params": {"scale": [SECRET]}},
            {"dataframe_records": [GOOD], "params": SECRET},
            {"dataframe_records": [SECRET]},
            {"dataframe_records": {SECRET: 1}},
            {"dataframe_split": {"columns": [SECRET], "data": [[1, 2]]}},
            {"dataframe_split": {SECRET: [SECRET], "data": [[1]]}},
            {"dataframe_split": SECRET},
            {"inputs": SECRET},
            {"inputs": [[SECRET], [1, 2]]},
            {"inputs": [1], "instances": [SECRET]},
            {SECRET: 1},
            [SECRET],
            SECRET,
        )
    )
    yield '{"inputs": ' + SECRET, JSON
    yield f'{{"inputs": "{SECRET}', JSON
    yield f"alcohol,colour\n{SECRET},red\n", CSV
    yield f"alcohol,colour\n1,{SECRET},2\n3,4,5,6", CSV
    yield f"{SECRET}\n1\n", CSV
    yield f'alcohol,colour\n1,"{SECRET}', CSV
    yield f"alcohol,colour,when\n1,red,{SECRET}\n", CSV
    yield SECRET, PARQUET


@pytest.mark.parametrize("length", [100, 3_900, 4_000, 4_100, 100_000])
def test_no_message_repeats_a_long_value(length: int) -> None:
    value = SECRET * (length // len(SECRET))
    for name in ("alcohol", "count", "when", "sizes", "person"):
        body = json.dumps({"dataframe_records": [{**GOOD, name: value}]})
        response = fallback(COLUMNS).respond(body.encode(), JSON).response
        assert response.status == 400, name
        assert b"jane" not in response.body and len(response.body) < 600


@pytest.mark.parametrize("signature", [COLUMNS, TENSOR, None], ids=["columns", "tensor", "none"])
def test_no_message_repeats_the_payload(signature: ModelSignature | None) -> None:
    serving = fallback(signature)
    refused = 0
    for body, content_type in bad_bodies():
        response = serving.respond(body.encode(), content_type).response
        if response.status == 200:
            continue
        refused += 1
        assert SECRET not in response.body.decode(), body
        assert len(response.body) < 1000
        assert json.loads(response.body)["message"].strip(), body
    assert refused > 10


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {"dataframe_records": [{"colour": "red", SECRET: 1}]},
            "Failed to enforce schema of data … Error: Model is missing inputs ['alcohol']. "
            "Note that there were extra inputs: ['…'].",
        ),
        (
            {"dataframe_records": [{**GOOD, "alcohol": SECRET}]},
            "Invalid input. Data is not compatible with model signature. "
            "Failed to convert column alcohol to type 'float64'. Error: '…'",
        ),
        (
            {"instances": [{**GOOD, "sizes": {SECRET: 2}}]},
            "Invalid input. Expected data to be list or numpy array, got dict",
        ),
    ],
)
def test_mlflows_sentence_stays(body: Any, sentence: str) -> None:
    response = fallback(COLUMNS).respond(json.dumps(body).encode(), JSON).response
    assert json.loads(response.body)["message"] == sentence


@pytest.mark.parametrize("character", ["x", "é", "字", "🍷", "\n"])
@pytest.mark.parametrize("length", [10, 10**6])
def test_any_error_is_bounded(length: int, character: str) -> None:
    text = character * length
    for error in (
        MlflowException(text),
        MlflowException(f"Failed '{text}' and `{text}`"),
        MlflowException(f"'{text}"),
        _caused(MlflowException(f"data {text}. Error: {text}"), ValueError(text)),
        _caused(MlflowException(f"data '{text}'. Error: {text}"), MlflowException(text)),
        UnicodeDecodeError("utf-8", text.encode(), 0, 1, text),
    ):
        sentence = sentence_of(error, ())
        assert 0 < len(sentence.encode()) <= MAX_MESSAGE, error
    error = ErrorResponse(400, "BAD_REQUEST", text)
    assert len(error.message.encode()) <= MAX_MESSAGE
    assert len(error.response().body) <= MAX_MESSAGE + 60, "with the other fields of the JSON"
    assert error.message == text or len(error.response().body) > MAX_MESSAGE, "no shorter"


def _caused(error: MlflowException, cause: Exception) -> MlflowException:
    error.__cause__ = cause
    return error


PEAK = """\
import resource, sys
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel
from mlflow_model_server.inference.mlflow_fallback import Fallback

class Stub:
    def predict(self, data, params=None):
        return [1]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

fallback = Fallback(PyFuncModel(model_meta=Model(), model_impl=Stub()))
fallback.respond(b'{"inputs": [1', sys.argv[1])
body = eval(sys.argv[2])
before = peak()
response = fallback.respond(body, sys.argv[1]).response
print(response.status, len(response.body), (peak() - before) / len(body))
"""


@pytest.mark.parametrize("content_type", [JSON, CSV])
@pytest.mark.parametrize("body", ['b"\\xff" * (20 << 20)', 'b"x," * (1 << 20) + b"\\xff" * 999'])
def test_bytes_that_are_no_text_need_little_memory(content_type: str, body: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PEAK, content_type, body]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    status, length, bodies = ended.stdout.split()
    assert status in ("400", "413")
    assert int(length) < 1000
    assert float(bodies) < 3
